"""Files: ParaView, densities for any rank count, STL, and meshes with named groups (Gmsh, STEP, XDMF)."""

from dolfinx_neural_topo.io.density_file import read_density, write_density
from dolfinx_neural_topo.io.fields import as_function, cell_mean
from dolfinx_neural_topo.io.msh import read_mesh
from dolfinx_neural_topo.io.paraview import ParaViewFile, write_paraview
from dolfinx_neural_topo.io.step import read_step
from dolfinx_neural_topo.io.stl import write_stl
from dolfinx_neural_topo.io.surface import Surface, closed_surface
from dolfinx_neural_topo.io.tagged import TaggedMesh
from dolfinx_neural_topo.io.xdmf import read_xdmf

__all__ = [
    "ParaViewFile",
    "Surface",
    "TaggedMesh",
    "as_function",
    "cell_mean",
    "closed_surface",
    "read_density",
    "read_mesh",
    "read_step",
    "read_xdmf",
    "write_density",
    "write_paraview",
    "write_stl",
]
