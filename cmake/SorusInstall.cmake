# `cmake --install`: library, headers and SorusConfig.cmake. A wheel gets the same, inside the package `sorus`.
include(CMakePackageConfigHelpers)

set(config_folder ${CMAKE_INSTALL_LIBDIR}/cmake/Sorus)

install(TARGETS sorus EXPORT SorusTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET sorus_mpi)
  install(TARGETS sorus_mpi LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
foreach(tree ${PROJECT_SOURCE_DIR}/src/sorus ${PROJECT_BINARY_DIR}/generated/sorus)
  install(DIRECTORY ${tree} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} OPTIONAL FILES_MATCHING PATTERN "*.h")
endforeach()
install(EXPORT SorusTargets NAMESPACE Sorus:: DESTINATION ${config_folder})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/SorusConfig.cmake.in ${PROJECT_BINARY_DIR}/SorusConfig.cmake
  INSTALL_DESTINATION ${config_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/SorusConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/SorusConfig.cmake ${PROJECT_BINARY_DIR}/SorusConfigVersion.cmake
  DESTINATION ${config_folder})

if(TARGET _core AND SKBUILD)
  set_target_properties(_core PROPERTIES INSTALL_RPATH "$ORIGIN/lib")
  install(TARGETS _core LIBRARY DESTINATION sorus)
endif()
