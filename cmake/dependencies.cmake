# Everything comes from the distribution's packages; tools/setup.sh installs them.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(PNG REQUIRED)
find_package(PkgConfig REQUIRED)

# Pictures are drawn with cairo where it is installed; x_cairo.cpp or x_without_cairo.cpp is compiled.
pkg_check_modules(CAIRO IMPORTED_TARGET cairo)
if(CAIRO_FOUND)
  set(MEGALITH_CAIRO PkgConfig::CAIRO)
  set(MEGALITH_CAIRO_ABSENT [a-z]+_without_cairo)
else()
  set(MEGALITH_CAIRO_ABSENT [a-z]+_cairo)
endif()

# Processes and nodes; comm/mpi_x.cpp or comm/without_mpi.cpp is compiled.
find_package(MPI COMPONENTS C QUIET)
if(MPI_C_FOUND)
  set(MEGALITH_MPI MPI::MPI_C)
  # Without the C++ bindings, which have left the standard.
  target_compile_definitions(MPI::MPI_C INTERFACE OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)
  set(MEGALITH_MPI_ABSENT without_mpi)
else()
  set(MEGALITH_MPI_ABSENT mpi_[a-z]+)
endif()

# The OpenMP build of OpenBLAS shares one thread pool with our kernels; the pthread build would fight with it for the cores.
find_path(OPENBLAS_INCLUDE_DIR cblas.h
  PATH_SUFFIXES x86_64-linux-gnu/openblas-openmp x86_64-linux-gnu/openblas64-openmp openblas REQUIRED)
find_library(OPENBLAS_LIBRARY openblas PATH_SUFFIXES openblas-openmp x86_64-linux-gnu/openblas-openmp REQUIRED)
add_library(OpenBLAS::OpenBLAS UNKNOWN IMPORTED)
set_target_properties(OpenBLAS::OpenBLAS PROPERTIES
  IMPORTED_LOCATION ${OPENBLAS_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${OPENBLAS_INCLUDE_DIR})

if(MEGALITH_OPENMP)
  find_package(OpenMP REQUIRED COMPONENTS CXX)
endif()
if(MEGALITH_TESTS)
  find_package(GTest REQUIRED)
endif()
