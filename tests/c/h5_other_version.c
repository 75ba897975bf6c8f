/* h5_other_version.c: a library that says it is HDF5 9.8.7, for test_h5lib. */
int H5get_libversion(unsigned *major, unsigned *minor, unsigned *release);

int H5get_libversion(unsigned *major, unsigned *minor, unsigned *release)
{
    *major = 9;
    *minor = 8;
    *release = 7;
    return 0;
}
