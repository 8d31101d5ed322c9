# One static library per folder of megalith/, one test program per folder of tests/.

add_library(mg_flags INTERFACE)
target_include_directories(mg_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(mg_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:
  -Wall -Wextra -Werror -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wimplicit-fallthrough -Wno-missing-field-initializers
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>>)  # GCC 12 sees an overlap in "text" + std::string (GCC bug 105651)
target_compile_definitions(mg_flags INTERFACE MG_HAS_CUDA=$<BOOL:${MEGALITH_CUDA}>)
target_compile_options(mg_flags INTERFACE ${MEGALITH_CUDA_FLAGS})
if(MEGALITH_OPENMP)
  target_link_libraries(mg_flags INTERFACE OpenMP::OpenMP_CXX)
else()
  target_compile_options(mg_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp-simd -Wno-unknown-pragmas>)
endif()
target_link_libraries(mg_flags INTERFACE Threads::Threads)
if(MEGALITH_SANITIZE)
  target_compile_options(mg_flags INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${MEGALITH_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -g>
    # GCC 13 takes instrumented standard headers for uninitialized, or for reading past the end.
    $<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized -Wno-array-bounds -Wno-stringop-overread>)
  target_link_options(mg_flags INTERFACE -fsanitize=${MEGALITH_SANITIZE})
endif()

# What nearly every file includes, parsed once: reading it takes longer than the file itself. A compiler cache, asked for
# with CMAKE_CXX_COMPILER_LAUNCHER, does better without.
if(CMAKE_CXX_COMPILER_LAUNCHER)
  option(MEGALITH_PCH "precompiled standard headers" OFF)
else()
  option(MEGALITH_PCH "precompiled standard headers" ON)
endif()
set(standard_headers <algorithm> <array> <atomic> <chrono> <cmath> <cstdint> <cstring> <deque> <filesystem> <functional> <limits>
  <map> <memory> <mutex> <numeric> <optional> <span> <string> <string_view> <thread> <utility> <vector> <fmt/format.h>)

# megalith_precompile(target owner): the headers as the target `owner` compiles them, which may be the target itself.
function(megalith_precompile target owner)
  if(NOT MEGALITH_PCH)
    return()
  endif()
  # With them GCC 12 reports more of bug 105651; builds without them, the sanitized ones among others, keep these warnings.
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-stringop-overflow -Wno-array-bounds>)
  if(target STREQUAL owner)
    list(TRANSFORM standard_headers REPLACE "(.+)" "$<$<COMPILE_LANGUAGE:CXX>:\\1>")
    target_precompile_headers(${target} PRIVATE ${standard_headers} ${ARGN})
  else()
    target_precompile_headers(${target} REUSE_FROM ${owner})
  endif()
endfunction()

# Files named *.simd.cpp are compiled once for each instruction set, in a namespace of its own; core/isa.h chooses at run time.
# They hold functions of internal linkage behind one entry each: an inline function shared between the sets could
# otherwise be taken by the linker from the widest one (tools/check_globals.py looks for such weak symbols).
function(megalith_simd_sources name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/megalith/${name}/*.simd.cpp)
  if(NOT sources)
    return()
  endif()
  set(flags_baseline)
  set(flags_avx2 -mavx2 -mfma -mf16c -mbmi -mbmi2)
  set(flags_avx512 ${flags_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
  foreach(isa baseline avx2 avx512)
    add_library(mg_${name}_${isa} OBJECT ${sources})
    target_link_libraries(mg_${name}_${isa} PRIVATE mg_flags fmt::fmt OpenBLAS::OpenBLAS)
    target_compile_definitions(mg_${name}_${isa} PRIVATE MG_ISA=isa_${isa})
    target_compile_options(mg_${name}_${isa} PRIVATE ${flags_${isa}} -fno-math-errno -fno-trapping-math -fno-signed-zeros)
    target_sources(mg_${name} PRIVATE $<TARGET_OBJECTS:mg_${name}_${isa}>)
  endforeach()
endfunction()

# megalith_layer(name [JSON] DEPS layer... LIBS target... EXCLUDE stem): EXCLUDE leaves out the files of that stem, a pattern;
# JSON precompiles that header, too, as io does.
# Sources in a folder named cuda are compiled where MEGALITH_CUDA is on.
function(megalith_layer name)
  cmake_parse_arguments(ARG "JSON" "EXCLUDE" "DEPS;LIBS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS
    ${CMAKE_SOURCE_DIR}/megalith/${name}/*.cpp ${CMAKE_SOURCE_DIR}/megalith/${name}/*.cu)
  if(NOT MEGALITH_CUDA)
    list(FILTER sources EXCLUDE REGEX "/cuda/|[.]cu$")
  endif()
  if(ARG_EXCLUDE)
    list(FILTER sources EXCLUDE REGEX "/${ARG_EXCLUDE}[.]cpp$")
  endif()
  list(TRANSFORM ARG_DEPS PREPEND mg_)
  list(FILTER sources EXCLUDE REGEX "\\.simd\\.cpp$")
  if(sources)
    add_library(mg_${name} STATIC ${sources})
    # What reads and writes text runs for milliseconds, and would take a fifth of the time to build. Precompiled headers
    # serve the level of optimisation that they were compiled with alone (GCC 13), so these layers have their own.
    if(name MATCHES "^(cli|config|report|checkpoint)$")
      target_compile_options(mg_${name} PRIVATE $<$<CONFIG:Release>:-O1>)
      set(owner mg_config)
      set(json_owner mg_report)
    else()
      set(text_sources ${sources})
      list(FILTER text_sources INCLUDE REGEX "/hf_[a-z_]+[.]cpp$")
      set_source_files_properties(${text_sources} PROPERTIES
        COMPILE_OPTIONS "$<$<CONFIG:Release>:-O1>" SKIP_PRECOMPILE_HEADERS ON)
      set(owner mg_base)
      set(json_owner mg_io)
    endif()
    if(ARG_JSON)
      megalith_precompile(mg_${name} ${json_owner} <nlohmann/json.hpp>)
    else()
      megalith_precompile(mg_${name} ${owner})
    endif()
    megalith_simd_sources(${name})
    target_link_libraries(mg_${name} PUBLIC mg_flags ${ARG_DEPS} ${ARG_LIBS})
  else()
    add_library(mg_${name} INTERFACE)
    target_link_libraries(mg_${name} INTERFACE mg_flags ${ARG_DEPS} ${ARG_LIBS})
  endif()
endfunction()

# megalith_tests(name [DEPS layer...] [SHARDS filter]): tests/name/*_test.cpp against the layer of the same name.
# Each case is a process, but for those that the filter names: they share what takes long to make, and run in four.
function(megalith_tests name)
  cmake_parse_arguments(ARG "" "SHARDS" "DEPS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${name}/*.cpp)
  if(NOT sources)
    return()
  endif()
  list(TRANSFORM ARG_DEPS PREPEND mg_)
  add_executable(test_${name} ${sources})
  target_link_libraries(test_${name} PRIVATE mg_${name} ${ARG_DEPS} GTest::gtest_main GTest::gmock)
  target_compile_definitions(test_${name} PRIVATE
    MG_TEST_DATA="${CMAKE_SOURCE_DIR}/tests/data" MG_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  # Tests call the program's code, which is optimised; their own would take most of the time to build.
  target_compile_options(test_${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  megalith_precompile(test_${name} test_base <gmock/gmock.h> <gtest/gtest.h>)
  set(alone "*")
  if(ARG_SHARDS)
    set(alone "-${ARG_SHARDS}")
    set(timeout 600)
    if(MEGALITH_SANITIZE)
      set(timeout 3600)
    endif()
    foreach(shard RANGE 3)
      add_test(NAME ${name}/shard_${shard} COMMAND test_${name} --gtest_filter=${ARG_SHARDS})
      set_tests_properties(${name}/shard_${shard} PROPERTIES TIMEOUT ${timeout}
        ENVIRONMENT "GTEST_TOTAL_SHARDS=4;GTEST_SHARD_INDEX=${shard}")
    endforeach()
  endif()
  gtest_discover_tests(test_${name} NO_PRETTY_VALUES TEST_PREFIX ${name}/ TEST_FILTER "${alone}" DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT 300)
endfunction()
