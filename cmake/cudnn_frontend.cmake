# cuDNN 9 and the headers of cudnn-frontend, as the target cudnn_frontend. The headers come from CUDNN_FRONTEND_INCLUDE,
# from the pip package nvidia-cudnn-frontend where Python has it, else that package is downloaded into the build's own
# folder build/deps once.
set(CUDNN_FRONTEND_INCLUDE "" CACHE PATH "folder of cudnn_frontend.h")
set(CUDNN_FRONTEND_VERSION 1.32.0)
set(CUDNN_FRONTEND_FOLDER ${CMAKE_SOURCE_DIR}/build/deps/cudnn_frontend)

find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND)
  execute_process(COMMAND ${Python3_EXECUTABLE} -c "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    OUTPUT_VARIABLE CUDNN_FRONTEND_SITE OUTPUT_STRIP_TRAILING_WHITESPACE)
endif()
set(CUDNN_FRONTEND_PLACES ${CUDNN_FRONTEND_INCLUDE} ${CUDNN_FRONTEND_FOLDER}/include ${CUDNN_FRONTEND_SITE}/include)

find_path(CUDNN_FRONTEND_HEADERS cudnn_frontend.h PATHS ${CUDNN_FRONTEND_PLACES})
if(NOT CUDNN_FRONTEND_HEADERS AND Python3_FOUND)
  message(STATUS "cudnn-frontend ${CUDNN_FRONTEND_VERSION}: downloading its headers from PyPI")
  execute_process(COMMAND ${Python3_EXECUTABLE} -m pip download -q --no-deps --dest ${CUDNN_FRONTEND_FOLDER}
    nvidia-cudnn-frontend==${CUDNN_FRONTEND_VERSION})
  file(GLOB CUDNN_FRONTEND_WHEEL ${CUDNN_FRONTEND_FOLDER}/*.whl)
  if(CUDNN_FRONTEND_WHEEL)
    file(ARCHIVE_EXTRACT INPUT ${CUDNN_FRONTEND_WHEEL} DESTINATION ${CUDNN_FRONTEND_FOLDER} PATTERNS include/*)
    file(REMOVE ${CUDNN_FRONTEND_WHEEL})
  endif()
  find_path(CUDNN_FRONTEND_HEADERS cudnn_frontend.h PATHS ${CUDNN_FRONTEND_PLACES})
endif()
if(NOT CUDNN_FRONTEND_HEADERS)
  message(FATAL_ERROR "cudnn_frontend.h was not found in ${CUDNN_FRONTEND_PLACES}: "
                      "pip install nvidia-cudnn-frontend, or name its folder with -DCUDNN_FRONTEND_INCLUDE=")
endif()

find_path(CUDNN_INCLUDE_DIR cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS} REQUIRED)
find_library(CUDNN_LIBRARY NAMES cudnn libcudnn.so.9 HINTS ${CUDAToolkit_LIBRARY_DIR} ${CUDAToolkit_LIBRARY_ROOT}/lib
  PATH_SUFFIXES x86_64-linux-gnu REQUIRED)

add_library(cudnn_frontend INTERFACE)
target_include_directories(cudnn_frontend SYSTEM INTERFACE ${CUDNN_FRONTEND_HEADERS} ${CUDNN_INCLUDE_DIR})
target_compile_definitions(cudnn_frontend INTERFACE CUDNN_FRONTEND_SKIP_JSON_LIB)
target_link_libraries(cudnn_frontend INTERFACE ${CUDNN_LIBRARY} CUDA::nvrtc)

# The headers instantiate so much that -O2 takes over a minute; what runs per call is a small part of it.
# Headers precompiled with another level do not fit.
set_source_files_properties(megalith/kernels/cuda/vendor/attention_cudnn.cpp PROPERTIES
  COMPILE_OPTIONS -O1 SKIP_PRECOMPILE_HEADERS ON)
