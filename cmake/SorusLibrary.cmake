# libsorus, in the two stages that the root CMakeLists.txt describes.

# The sources of some layers, as a list; a layer without sources adds nothing.
function(sorus_sources result)
  set(sources)
  foreach(layer IN LISTS ARGN)
    file(GLOB_RECURSE found CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/sorus/${layer}/*.cpp)
    list(APPEND sources ${found})
  endforeach()
  list(FILTER sources EXCLUDE REGEX "/emit/generator/|/comm/mpi/")
  set(${result} ${sources} PARENT_SCOPE)
endfunction()

# A file named for an instruction set is compiled for it and called only after a check of the processor. Such a
# file must not instantiate inline functions that others share: the linker may keep the copy that needs AVX-512.
set(SORUS_FLAGS_avx2 -march=x86-64-v3)
set(SORUS_FLAGS_avx512 -march=x86-64-v4 -mprefer-vector-width=512)
set(SORUS_FLAGS_avx512bf16 ${SORUS_FLAGS_avx512} -mavx512bf16)
set(SORUS_FLAGS_amx ${SORUS_FLAGS_avx512bf16} -mamx-tile -mamx-bf16 -mamx-int8)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(SORUS_X86 ON)
else()
  set(SORUS_X86 OFF)
endif()

function(sorus_flags_by_name)
  foreach(source IN LISTS ARGN)
    if(source MATCHES "_(avx2|avx512|avx512bf16|amx)\\.cpp$" AND SORUS_X86)
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${SORUS_FLAGS_${CMAKE_MATCH_1}}"
        SKIP_PRECOMPILE_HEADERS ON)
    endif()
  endforeach()
endfunction()

# What runs once for a model, a file or a signature of an operator, and is full of text, JSON and templates of the
# standard library, is compiled in two thirds of the time. Not what runs for each call, element or candidate of a search.
set(SORUS_SELDOM emit import device models compile
  derive/(index_[a-z]+|loop_nest|contraction) graph/(graph_text|index|signature) io/(checkpoint|json|safetensors) data/tokenizer_json
  parallel/(checkpoint|cluster|plan|report|partition|sharding|mesh))
function(sorus_seldom)
  list(JOIN SORUS_SELDOM "|" pattern)
  foreach(source IN LISTS ARGN)
    if(source MATCHES "/src/sorus/(${pattern})(/|\\.cpp$)")
      set_property(SOURCE ${source} APPEND PROPERTY COMPILE_OPTIONS $<$<AND:$<CONFIG:Release>,$<NOT:$<BOOL:${SORUS_SANITIZE}>>>:-O1>)
    endif()
  endforeach()
endfunction()

# --- Stage 0: operator signatures -> generated/sorus/ops.h, ops.cpp ---------------------------------------------------------
set(ops_printer ${PROJECT_SOURCE_DIR}/scripts/print_ops_header.py)
set(generated ${PROJECT_BINARY_DIR}/generated/sorus)
sorus_sources(op_sources ops)
file(MAKE_DIRECTORY ${generated}/new)
# Written aside and copied if different, so that an edit of an operator's body does not rebuild all that include it.
add_custom_command(OUTPUT ${generated}/ops.h ${generated}/ops.cpp
  COMMAND ${Python_EXECUTABLE} ${ops_printer} ${generated}/new/ops.h ${generated}/new/ops.cpp ${op_sources}
  COMMAND ${CMAKE_COMMAND} -E copy_if_different ${generated}/new/ops.h ${generated}/new/ops.cpp ${generated}
  DEPENDS ${ops_printer} ${op_sources} COMMENT "Printing sorus/ops.h")
add_custom_target(sorus_generated DEPENDS ${generated}/ops.h ${generated}/ops.cpp)

# --- Stage 1: what the kernel generator needs ----------------------------------------------------------------------
# Objects and not an archive: operators register themselves by static objects, which a linker drops from archives.
set(core_layers base tensor graph kernels ops derive emit)
sorus_sources(core_sources ${core_layers})
sorus_flags_by_name(${core_sources})
sorus_seldom(${core_sources})
set(core_headers <algorithm> <cmath> <map> <numeric> <set> <unordered_map> <fmt/format.h> <sorus/graph/call.h>
  <sorus/graph/graph.h>)
add_library(sorus_core OBJECT ${core_sources} ${generated}/ops.cpp)
target_link_libraries(sorus_core PUBLIC sorus_options)
sorus_precompile(sorus_core ${core_headers})
add_dependencies(sorus_core sorus_generated)

# `sorus_generate_kernels FOLDER` prints this many files, always; each is compiled once per instruction set with
# -DSORUS_VARIANT=<name>, which the file uses to name its functions.
set(kernel_shards 8)
set(kernel_objects)
file(GLOB_RECURSE generator_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/sorus/emit/generator/*.cpp)
if(generator_sources)
  add_executable(sorus_generate_kernels ${generator_sources})
  target_link_libraries(sorus_generate_kernels PRIVATE sorus_core)

  set(folder ${PROJECT_BINARY_DIR}/generated/kernels)
  set(printed)
  set(fresh)
  math(EXPR last "${kernel_shards} - 1")
  foreach(shard RANGE ${last})
    list(APPEND printed ${folder}/kernels_${shard}.c)
    list(APPEND fresh ${folder}/new/kernels_${shard}.c)
  endforeach()
  file(MAKE_DIRECTORY ${folder}/new)
  add_custom_command(OUTPUT ${printed}
    COMMAND sorus_generate_kernels ${folder}/new
    COMMAND ${CMAKE_COMMAND} -E copy_if_different ${fresh} ${folder}
    DEPENDS sorus_generate_kernels COMMENT "Printing the eager kernels")
  add_custom_target(sorus_printed_kernels DEPENDS ${printed})

  set(variants baseline)
  set(SORUS_FLAGS_baseline)
  if(SORUS_X86)
    list(APPEND variants avx2 avx512)
    set(SORUS_FLAGS_baseline -march=x86-64-v2)
  endif()
  foreach(variant IN LISTS variants)
    add_library(sorus_kernels_${variant} OBJECT ${printed})
    target_compile_options(sorus_kernels_${variant} PRIVATE -O3 ${SORUS_FLAGS_${variant}} -fno-math-errno
      -fno-trapping-math -Wall -Wno-unused $<$<BOOL:${SORUS_WERROR}>:-Werror>)
    target_compile_definitions(sorus_kernels_${variant} PRIVATE SORUS_VARIANT=${variant})
    target_include_directories(sorus_kernels_${variant} PRIVATE ${PROJECT_SOURCE_DIR}/src)
    add_dependencies(sorus_kernels_${variant} sorus_printed_kernels)
    list(APPEND kernel_objects $<TARGET_OBJECTS:sorus_kernels_${variant}>)
  endforeach()
endif()

# --- Stage 2: the library ------------------------------------------------------------------------------------------
file(GLOB layers CONFIGURE_DEPENDS LIST_DIRECTORIES true RELATIVE ${PROJECT_SOURCE_DIR}/src/sorus
  ${PROJECT_SOURCE_DIR}/src/sorus/*)
list(FILTER layers EXCLUDE REGEX "\\.")
list(REMOVE_ITEM layers ${core_layers})
sorus_sources(other_sources ${layers})
sorus_flags_by_name(${other_sources})
sorus_seldom(${other_sources})
add_library(sorus SHARED ${other_sources} $<TARGET_OBJECTS:sorus_core> ${kernel_objects})
add_library(Sorus::sorus ALIAS sorus)
add_dependencies(sorus sorus_generated)
sorus_precompile(sorus ${core_headers})
set_target_properties(sorus PROPERTIES LINKER_LANGUAGE CXX)
if(NOT SKBUILD)  # a wheel has no symbolic links: each name would be a copy
  set_target_properties(sorus PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
endif()
target_compile_features(sorus PUBLIC cxx_std_20)
target_include_directories(sorus PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src> $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/generated>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(sorus PUBLIC fmt::fmt PRIVATE sorus_options)
target_link_options(sorus PRIVATE -Wl,-z,defs)

# MPI is loaded when it is asked for (parallel/comm/mpi.h), so that the library needs none.
set(MPI_CXX_SKIP_MPICXX ON)  # the old C++ names are not used
find_package(MPI COMPONENTS CXX)
if(MPI_CXX_FOUND)
  file(GLOB mpi_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/sorus/parallel/comm/mpi/*.cpp)
  add_library(sorus_mpi MODULE ${mpi_sources})
  target_link_libraries(sorus_mpi PRIVATE sorus sorus_options MPI::MPI_CXX)
  # C linkage for a function that returns a C++ object: only libsorus calls it.
  target_compile_options(sorus_mpi PRIVATE $<$<CXX_COMPILER_ID:Clang>:-Wno-return-type-c-linkage>)
else()
  message(STATUS "MPI not found: no ranks on several machines")
endif()
