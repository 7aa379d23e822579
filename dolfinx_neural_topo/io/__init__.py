"""Files: ParaView output, densities that any rank count reads, STL, and Gmsh meshes with named groups."""
