/* Counts the MPI calls of a program that is started with this library in LD_PRELOAD. The order of the numbers is
   that of NAMES in benchmark_communication.py. */
#include <mpi.h>
#include <stddef.h>
enum { MESSAGES, MESSAGE_BYTES, REDUCTIONS, REDUCTION_BYTES, BROADCASTS, BROADCAST_BYTES, OTHERS, KINDS };
static double counts[KINDS];
static struct { MPI_Request request; double bytes; } inits[100000];
static int num_inits;
static void add(int kind, double count, MPI_Datatype type) {
  int size; PMPI_Type_size(type, &size); counts[kind] += 1; counts[kind + 1] += count * size;
}
static void start(MPI_Request r) {
  for (int i = num_inits - 1; i >= 0; i--)
    if (inits[i].request == r) { counts[MESSAGES] += 1; counts[MESSAGE_BYTES] += inits[i].bytes; return; }
}
static void neighbours(const int n[], MPI_Datatype type, MPI_Comm comm) {
  int in, out, weighted; PMPI_Dist_graph_neighbors_count(comm, &in, &out, &weighted);
  for (int i = 0; i < out; i++) if (n[i]) add(MESSAGES, n[i], type);
}
#define SEND(NAME, ...) NAME(const void *b, int n, MPI_Datatype t, int d, int g, MPI_Comm c, ##__VA_ARGS__)
int SEND(MPI_Send) { add(MESSAGES, n, t); return PMPI_Send(b, n, t, d, g, c); }
int SEND(MPI_Isend, MPI_Request *r) { add(MESSAGES, n, t); return PMPI_Isend(b, n, t, d, g, c, r); }
int SEND(MPI_Issend, MPI_Request *r) { add(MESSAGES, n, t); return PMPI_Issend(b, n, t, d, g, c, r); }
int SEND(MPI_Send_init, MPI_Request *r) {
  int e = PMPI_Send_init(b, n, t, d, g, c, r), size; PMPI_Type_size(t, &size);
  inits[num_inits % 100000].request = *r; inits[num_inits++ % 100000].bytes = (double)n * size; return e;
}
int MPI_Start(MPI_Request *r) { start(*r); return PMPI_Start(r); }
int MPI_Startall(int n, MPI_Request r[]) { for (int i = 0; i < n; i++) start(r[i]); return PMPI_Startall(n, r); }
int MPI_Neighbor_alltoallv(const void *b, const int n[], const int d[], MPI_Datatype t, void *rb, const int rn[],
                           const int rd[], MPI_Datatype rt, MPI_Comm c) {
  neighbours(n, t, c); return PMPI_Neighbor_alltoallv(b, n, d, t, rb, rn, rd, rt, c);
}
int MPI_Ineighbor_alltoallv(const void *b, const int n[], const int d[], MPI_Datatype t, void *rb, const int rn[],
                            const int rd[], MPI_Datatype rt, MPI_Comm c, MPI_Request *r) {
  neighbours(n, t, c); return PMPI_Ineighbor_alltoallv(b, n, d, t, rb, rn, rd, rt, c, r);
}
#define REDUCE(NAME) int NAME(const void *b, void *r, int n, MPI_Datatype t, MPI_Op o, MPI_Comm c) \
  { add(REDUCTIONS, n, t); return P##NAME(b, r, n, t, o, c); }
REDUCE(MPI_Allreduce)
#define ROOT(NAME) int NAME(const void *b, void *r, int n, MPI_Datatype t, MPI_Op o, int d, MPI_Comm c) \
  { add(REDUCTIONS, n, t); return P##NAME(b, r, n, t, o, d, c); }
ROOT(MPI_Reduce)
#define BCAST(NAME) int NAME(void *b, int n, MPI_Datatype t, int d, MPI_Comm c) \
  { add(BROADCASTS, n, t); return P##NAME(b, n, t, d, c); }
BCAST(MPI_Bcast)
#define GATHER(NAME) int NAME(const void *b, int n, MPI_Datatype t, void *r, int m, MPI_Datatype u, MPI_Comm c) \
  { counts[OTHERS] += 1; return P##NAME(b, n, t, r, m, u, c); }
GATHER(MPI_Allgather)
GATHER(MPI_Alltoall)
int MPI_Barrier(MPI_Comm c) { counts[OTHERS] += 1; return PMPI_Barrier(c); }
/* Copies this rank's numbers so far. */
void mpi_counts(double *out) { for (int i = 0; i < KINDS; i++) out[i] = counts[i]; }
