# The Python module sorus._core. A build of the source tree puts it into python/sorus/, which .venv has on its path,
# so nothing has to be installed again after a build; a wheel (SKBUILD) gets it through the install rules.
file(GLOB_RECURSE binding_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/python/bindings/*.cpp)
if(binding_sources AND Python_Development.Module_FOUND)
  execute_process(COMMAND ${Python_EXECUTABLE} -m nanobind --cmake_dir
    OUTPUT_VARIABLE nanobind_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  find_package(nanobind CONFIG QUIET)
endif()
if(nanobind_FOUND)
  nanobind_add_module(_core NB_STATIC NOMINSIZE ${binding_sources})
  target_include_directories(_core PRIVATE ${PROJECT_SOURCE_DIR}/python/bindings)
  target_compile_options(_core PRIVATE -Wall -Wextra -Wno-maybe-uninitialized $<$<BOOL:${SORUS_WERROR}>:-Werror>)
  target_link_libraries(_core PRIVATE sorus OpenMP::OpenMP_CXX nlohmann_json::nlohmann_json)
  add_dependencies(_core sorus_generated)
  sorus_precompile(_core ${core_headers} <sorus/ops.h> <nanobind/nanobind.h> <nanobind/stl/string.h>
    <nanobind/stl/vector.h>)
  if(NOT SKBUILD)
    set_target_properties(_core PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${PROJECT_SOURCE_DIR}/python/sorus)
  endif()
elseif(binding_sources)
  message(STATUS "nanobind not found for ${Python_EXECUTABLE}: no Python module")
endif()
