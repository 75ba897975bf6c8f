# The libraries go into the program, but for those of libc, which the GPU's driver needs as the machine has them: the program then
# runs where none of the packages is installed. HDF5 is not opened at its first use, it is there (core/dump/h5lib.c).

# segx_inside(TARGET archive ...): what linked a library through pkg-config gets these archives, in this order.
function(segx_inside target)
  set(files "")
  foreach(name IN LISTS ARGN)
    find_library(SEGX_ARCHIVE_${name} NAMES lib${name}.a HINTS ${HDF5_LIBRARY_DIRS} ${HDF5_LIBDIR})
    if(NOT SEGX_ARCHIVE_${name})
      message(FATAL_ERROR "SEGX_PORTABLE: there is no lib${name}.a (tools/setup has the packages)")
    endif()
    list(APPEND files ${SEGX_ARCHIVE_${name}})
  endforeach()
  set_target_properties(${target} PROPERTIES INTERFACE_LINK_LIBRARIES "${files};m" INTERFACE_LINK_DIRECTORIES "")
endfunction()

segx_inside(PkgConfig::LUA lua5.4)
segx_inside(PkgConfig::DEFLATE deflate)
segx_inside(PkgConfig::XXHASH xxhash)
segx_inside(PkgConfig::EDIT edit tinfo bsd md)
segx_inside(PkgConfig::PNG png16 z)
segx_inside(PkgConfig::HDF5 hdf5 sz aec z)

# Debian's HDF5 can read files in Amazon's S3, for which it wants curl and OpenSSL.
add_library(segx_no_s3 STATIC cmake/no_s3.c)
set_property(TARGET PkgConfig::HDF5 APPEND PROPERTY INTERFACE_LINK_LIBRARIES segx_no_s3)

add_link_options(-static-libgcc -Wl,--as-needed)
