/* h5_lacking.c: a library with the version of the headers and nothing else, for test_h5lib. */
#include <hdf5.h>

herr_t H5get_libversion(unsigned *major, unsigned *minor, unsigned *release)
{
    *major = H5_VERS_MAJOR;
    *minor = H5_VERS_MINOR;
    *release = H5_VERS_RELEASE;
    return 0;
}
