# What `cmake --install` lays down: the program, both libraries, vane.h, vane.pc, the CMake package, and the README with all
# that it links to.
# A CMake project says find_package(vane) and links vane::vane (shared), or find_package(vane COMPONENTS static)
# and links vane::static.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/vane)

install(TARGETS vane)
if(VANE_MPI_MODULES)
  install(TARGETS ${VANE_MPI_MODULES} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/vane)
endif()
install(FILES ${CMAKE_SOURCE_DIR}/include/vane.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE ${CMAKE_SOURCE_DIR}/README.md ${CMAKE_SOURCE_DIR}/CHANGELOG.md
  DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY ${CMAKE_SOURCE_DIR}/docs DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${CMAKE_SOURCE_DIR}/include/vane.h DESTINATION ${CMAKE_INSTALL_DOCDIR}/include) # where docs look for it
install(FILES ${CMAKE_SOURCE_DIR}/bench/LOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR}/bench)

# The shared library needs nothing of its user; the static one brings what it was built with.
install(TARGETS libvane_shared EXPORT vaneTargets)
install(TARGETS libvane_static EXPORT vaneStaticTargets)
foreach(export vaneTargets vaneStaticTargets)
  install(EXPORT ${export} NAMESPACE vane:: DESTINATION ${package_dir})
endforeach()
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/vaneConfig.cmake.in ${CMAKE_BINARY_DIR}/vaneConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/vaneConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/vaneConfig.cmake ${CMAKE_BINARY_DIR}/vaneConfigVersion.cmake
  DESTINATION ${package_dir})

file(RELATIVE_PATH VANE_PC_UP ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX}) # relocatable
set(VANE_PC_DL ${CMAKE_DL_LIBS})
list(TRANSFORM VANE_PC_DL PREPEND -l)
set(VANE_PC_PRIVATE ${JANSSON_LDFLAGS} ${LIBZIP_LDFLAGS} ${WEBP_LDFLAGS} ${UTF8PROC_LDFLAGS} -lpng -ljpeg -lz ${CMAKE_THREAD_LIBS_INIT} ${VANE_PC_DL} -lm)
list(JOIN VANE_PC_PRIVATE " " VANE_PC_PRIVATE)
configure_file(${CMAKE_SOURCE_DIR}/cmake/vane.pc.in ${CMAKE_BINARY_DIR}/vane.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/vane.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
