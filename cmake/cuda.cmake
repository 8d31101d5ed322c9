# The CUDA toolkit, where MEGALITH_CUDA is on: language, flags, libraries. MEGALITH_CUDA_ARCHITECTURES in the form of
# CMAKE_CUDA_ARCHITECTURES; 90a is Hopper (H100, H200).
set(MEGALITH_NCCL_ABSENT nccl_[a-z_]+)
if(NOT MEGALITH_CUDA)
  return()
endif()

if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(MEGALITH_NVCC nvcc HINTS /usr/local/cuda/bin $ENV{CUDA_HOME}/bin)
  if(NOT MEGALITH_NVCC)
    message(FATAL_ERROR "MEGALITH_CUDA is ON, but there is no nvcc on the PATH or under /usr/local/cuda: "
                        "install CUDA 13, or configure without MEGALITH_CUDA")
  endif()
  set(CMAKE_CUDA_COMPILER ${MEGALITH_NVCC})
endif()
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 90a)
endif()
if(CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()
enable_language(CUDA)
find_package(CUDAToolkit 13 REQUIRED)

# CMake before 3.26 does not know how nvcc spells C++20.
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
endif()
# FMT_USE_CONSTEXPR: fmt 9 turns its constexpr off under nvcc and then does not compile as C++20. Unknown pragmas are
# those of the CPU kernels' headers.
set(MEGALITH_CUDA_FLAGS $<$<COMPILE_LANGUAGE:CUDA>:
  --expt-relaxed-constexpr -diag-suppress=1675 -Xcompiler=-Wall,-Wno-unknown-pragmas -Werror=cross-execution-space-call -DFMT_USE_CONSTEXPR=1>)
# The runtime is linked statically: a program starts without the toolkit and says itself that there is no GPU.
set(MEGALITH_CUDA_RUNTIME CUDA::cudart_static)
include(cudnn_frontend)
set(MEGALITH_CUDA_LIBRARIES CUDA::cublasLt cudnn_frontend)

# Several GPUs; comm/nccl_x.cpp or comm/without_nccl.cpp is compiled.
find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
find_library(NCCL_LIBRARY NAMES nccl HINTS ${CUDAToolkit_LIBRARY_DIR})
if(NCCL_INCLUDE_DIR AND NCCL_LIBRARY)
  add_library(nccl INTERFACE)
  target_include_directories(nccl SYSTEM INTERFACE ${NCCL_INCLUDE_DIR})
  target_link_libraries(nccl INTERFACE ${NCCL_LIBRARY})
  set(MEGALITH_NCCL nccl)
  set(MEGALITH_NCCL_ABSENT without_nccl)
else()
  message(STATUS "NCCL is not installed: a run has one GPU")
endif()
