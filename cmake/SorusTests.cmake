# tests/cpp/**/*.cpp become one program; ctest runs each of its tests in a process of its own. `make test` builds it;
# who only trains a model does not wait for it.
find_package(GTest REQUIRED)
find_package(rapidcheck REQUIRED)
include(GoogleTest)

file(GLOB_RECURSE test_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/cpp/*.cpp)
if(test_sources)
  add_executable(sorus_tests EXCLUDE_FROM_ALL ${test_sources})
  target_include_directories(sorus_tests PRIVATE ${PROJECT_SOURCE_DIR}/tests/cpp)
  target_link_libraries(sorus_tests PRIVATE sorus sorus_options rapidcheck GTest::gtest_main)
  target_compile_options(sorus_tests PRIVATE $<$<AND:$<CONFIG:Release>,$<NOT:$<BOOL:${SORUS_SANITIZE}>>>:-O1>)  # compiled much sooner; they time nothing
  sorus_precompile(sorus_tests ${core_headers} <gtest/gtest.h>)
  target_compile_definitions(sorus_tests PRIVATE SORUS_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  gtest_discover_tests(sorus_tests DISCOVERY_MODE PRE_TEST PROPERTIES TIMEOUT 120)
endif()

# benchmarks/**/NAME_bench.cpp are programs of their own, built only when asked for: ninja -C build NAME_bench
find_package(benchmark REQUIRED)
file(GLOB_RECURSE bench_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/benchmarks/*_bench.cpp)
foreach(source IN LISTS bench_sources)
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} EXCLUDE_FROM_ALL ${source})
  target_link_libraries(${name} PRIVATE sorus sorus_options benchmark::benchmark)
endforeach()
