/*
 * h5lib.h: the HDF5 library, opened when the first dump is. Linked, it and the forty libraries
 * behind it (curl, TLS, Kerberos ...) would take longer to load than a short script takes to run.
 *
 * The only place that includes hdf5.h. After sx_h5_load the H5 names of the lists below mean what
 * was found in the library; any other fails to link: add it to both lists. Nothing of HDF5 may be
 * called before sx_h5_load has returned SX_EOK; that one may be called by any thread.
 *
 * The table sx_h5 is one for the process, as the library is: written once, never taken back (HDF5
 * runs code of its own at exit). A program that links HDF5 as well must be compiled with -fPIC:
 * else the linker moves HDF5's variables into the program and the table gets the dead originals.
 */
#ifndef SX_DUMP_H5LIB_H
#define SX_DUMP_H5LIB_H

#ifndef H5_USE_110_API
#define H5_USE_110_API   /* newer libraries: keep the signatures of 1.10 */
#endif
#include <hdf5.h>

#include "base/base.h"

/* H5Dchunk_iter is not in every release of 1.10 and 1.12: NULL where the headers know it and the
 * library does not. */
#if H5_VERSION_GE(1, 14, 0) ||                                                 \
    (H5_VERS_MAJOR == 1 && H5_VERS_MINOR == 12 && H5_VERS_RELEASE >= 3) ||     \
    (H5_VERS_MAJOR == 1 && H5_VERS_MINOR == 10 && H5_VERS_RELEASE >= 10)
#define SX_H5_HAS_CHUNK_ITER 1
#define SX_H5_OPTIONAL(X) X(Dchunk_iter)
#else
#define SX_H5_HAS_CHUNK_ITER 0
#define SX_H5_OPTIONAL(X)
#endif

/* Names without their "H5": pasted and expanded again, so that macros of newer headers
 * (H5Literate is H5Literate1) lead to the right symbol. */
#define SX_H5_FUNCTIONS(X) \
    X(Aclose) X(Acreate2) X(Aexists) X(Aget_space) X(Aget_type) X(Aopen) X(Aread) X(Awrite) \
    X(Dclose) X(Dcreate2) X(Dget_chunk_info) X(Dget_chunk_storage_size) X(Dget_create_plist) \
    X(Dget_num_chunks) X(Dget_offset) X(Dget_space) X(Dget_storage_size) X(Dget_type) X(Dopen2) \
    X(Dread) X(Dread_chunk) X(Dvlen_reclaim) X(Dwrite) X(Eget_auto2) X(Eset_auto2) X(Ewalk2) \
    X(Fclose) X(Fcreate) X(Fget_access_plist) X(Fget_create_plist) X(Fis_hdf5) X(Fopen) \
    X(Gclose) X(Gopen2) X(Iget_type) X(Literate) X(Oclose) X(Oopen) X(Pclose) X(Pcreate) \
    X(Pfill_value_defined) X(Pget_chunk) X(Pget_chunk_opts) X(Pget_driver) \
    X(Pget_external_count) X(Pget_fill_value) X(Pget_filter2) X(Pget_layout) X(Pget_nfilters) \
    X(Pget_userblock) X(Pset_chunk) X(Pset_deflate) X(Pset_obj_track_times) X(Pset_shuffle) \
    X(Sclose) X(Screate) X(Screate_simple) X(Sget_simple_extent_dims) \
    X(Sget_simple_extent_ndims) X(Sget_simple_extent_npoints) X(Sget_simple_extent_type) \
    X(Sselect_hyperslab) X(Tclose) X(Tcopy) X(Tget_class) X(Tget_ebias) X(Tget_fields) \
    X(Tget_offset) X(Tget_order) X(Tget_precision) X(Tget_sign) X(Tget_size) X(Tget_strpad) \
    X(Tget_super) X(Tis_variable_str) X(Tset_cset) X(Tset_ebias) X(Tset_fields) X(Tset_size) \
    X(Tset_strpad) X(Zfilter_avail) X(open)
#define SX_H5_VARIABLES(X) \
    X(P_CLS_DATASET_CREATE_ID_g) X(T_C_S1_g) X(T_IEEE_F64LE_g) X(T_NATIVE_DOUBLE_g) \
    X(T_NATIVE_FLOAT_g) X(T_NATIVE_INT16_g) X(T_NATIVE_INT32_g) X(T_NATIVE_INT64_g) \
    X(T_NATIVE_INT8_g) X(T_NATIVE_INT_g) X(T_NATIVE_UINT16_g) X(T_NATIVE_UINT32_g) \
    X(T_NATIVE_UINT64_g) X(T_NATIVE_UINT8_g) X(T_STD_I64LE_g)

typedef struct sx_h5_api {
#define SX_H5_FIELD(name) __typeof__(&H5##name) name##_;
    SX_H5_FUNCTIONS(SX_H5_FIELD)
    SX_H5_VARIABLES(SX_H5_FIELD)
    SX_H5_OPTIONAL(SX_H5_FIELD)
#undef SX_H5_FIELD
    hid_t (*sec2_init)(void);   /* the number of the plain file driver: a function up to 1.14, */
    const hid_t *sec2_id;       /* a variable after; NULL where absent */
} sx_h5_api;
extern sx_h5_api sx_h5;

/* Opens the library unless it is open. SX_EFILE when there is none, or one of another version. */
sx_err sx_h5_load(sx_error *er);

/* What sx_h5_load does, for tests: the first of n names or paths that can be opened fills *api. */
sx_err sx_h5_load_from(const char *const *name, size_t n, sx_h5_api *api, sx_error *er);

hid_t sx_h5_sec2(void);   /* H5FD_SEC2; -1 when unknown */

#ifndef SX_H5_NO_REDIRECT
#undef H5CHECK            /* H5check_version aborts: sx_h5_load has looked */
#define H5CHECK
#undef H5FD_SEC2
#define H5FD_SEC2 sx_h5_sec2()
/* macros in some newer headers */
#undef H5Literate
#undef H5Dread_chunk

#define H5Aclose (*sx_h5.Aclose_)
#define H5Acreate2 (*sx_h5.Acreate2_)
#define H5Aexists (*sx_h5.Aexists_)
#define H5Aget_space (*sx_h5.Aget_space_)
#define H5Aget_type (*sx_h5.Aget_type_)
#define H5Aopen (*sx_h5.Aopen_)
#define H5Aread (*sx_h5.Aread_)
#define H5Awrite (*sx_h5.Awrite_)
#define H5Dclose (*sx_h5.Dclose_)
#define H5Dcreate2 (*sx_h5.Dcreate2_)
#define H5Dget_chunk_info (*sx_h5.Dget_chunk_info_)
#define H5Dget_chunk_storage_size (*sx_h5.Dget_chunk_storage_size_)
#define H5Dget_create_plist (*sx_h5.Dget_create_plist_)
#define H5Dget_num_chunks (*sx_h5.Dget_num_chunks_)
#define H5Dget_offset (*sx_h5.Dget_offset_)
#define H5Dget_space (*sx_h5.Dget_space_)
#define H5Dget_storage_size (*sx_h5.Dget_storage_size_)
#define H5Dget_type (*sx_h5.Dget_type_)
#define H5Dopen2 (*sx_h5.Dopen2_)
#define H5Dread (*sx_h5.Dread_)
#define H5Dread_chunk (*sx_h5.Dread_chunk_)
#define H5Dvlen_reclaim (*sx_h5.Dvlen_reclaim_)
#define H5Dwrite (*sx_h5.Dwrite_)
#define H5Eget_auto2 (*sx_h5.Eget_auto2_)
#define H5Eset_auto2 (*sx_h5.Eset_auto2_)
#define H5Ewalk2 (*sx_h5.Ewalk2_)
#define H5Fclose (*sx_h5.Fclose_)
#define H5Fcreate (*sx_h5.Fcreate_)
#define H5Fget_access_plist (*sx_h5.Fget_access_plist_)
#define H5Fget_create_plist (*sx_h5.Fget_create_plist_)
#define H5Fis_hdf5 (*sx_h5.Fis_hdf5_)
#define H5Fopen (*sx_h5.Fopen_)
#define H5Gclose (*sx_h5.Gclose_)
#define H5Gopen2 (*sx_h5.Gopen2_)
#define H5Iget_type (*sx_h5.Iget_type_)
#define H5Literate (*sx_h5.Literate_)
#define H5Oclose (*sx_h5.Oclose_)
#define H5Oopen (*sx_h5.Oopen_)
#define H5Pclose (*sx_h5.Pclose_)
#define H5Pcreate (*sx_h5.Pcreate_)
#define H5Pfill_value_defined (*sx_h5.Pfill_value_defined_)
#define H5Pget_chunk (*sx_h5.Pget_chunk_)
#define H5Pget_chunk_opts (*sx_h5.Pget_chunk_opts_)
#define H5Pget_driver (*sx_h5.Pget_driver_)
#define H5Pget_external_count (*sx_h5.Pget_external_count_)
#define H5Pget_fill_value (*sx_h5.Pget_fill_value_)
#define H5Pget_filter2 (*sx_h5.Pget_filter2_)
#define H5Pget_layout (*sx_h5.Pget_layout_)
#define H5Pget_nfilters (*sx_h5.Pget_nfilters_)
#define H5Pget_userblock (*sx_h5.Pget_userblock_)
#define H5Pset_chunk (*sx_h5.Pset_chunk_)
#define H5Pset_deflate (*sx_h5.Pset_deflate_)
#define H5Pset_obj_track_times (*sx_h5.Pset_obj_track_times_)
#define H5Pset_shuffle (*sx_h5.Pset_shuffle_)
#define H5Sclose (*sx_h5.Sclose_)
#define H5Screate (*sx_h5.Screate_)
#define H5Screate_simple (*sx_h5.Screate_simple_)
#define H5Sget_simple_extent_dims (*sx_h5.Sget_simple_extent_dims_)
#define H5Sget_simple_extent_ndims (*sx_h5.Sget_simple_extent_ndims_)
#define H5Sget_simple_extent_npoints (*sx_h5.Sget_simple_extent_npoints_)
#define H5Sget_simple_extent_type (*sx_h5.Sget_simple_extent_type_)
#define H5Sselect_hyperslab (*sx_h5.Sselect_hyperslab_)
#define H5Tclose (*sx_h5.Tclose_)
#define H5Tcopy (*sx_h5.Tcopy_)
#define H5Tget_class (*sx_h5.Tget_class_)
#define H5Tget_ebias (*sx_h5.Tget_ebias_)
#define H5Tget_fields (*sx_h5.Tget_fields_)
#define H5Tget_offset (*sx_h5.Tget_offset_)
#define H5Tget_order (*sx_h5.Tget_order_)
#define H5Tget_precision (*sx_h5.Tget_precision_)
#define H5Tget_sign (*sx_h5.Tget_sign_)
#define H5Tget_size (*sx_h5.Tget_size_)
#define H5Tget_strpad (*sx_h5.Tget_strpad_)
#define H5Tget_super (*sx_h5.Tget_super_)
#define H5Tis_variable_str (*sx_h5.Tis_variable_str_)
#define H5Tset_cset (*sx_h5.Tset_cset_)
#define H5Tset_ebias (*sx_h5.Tset_ebias_)
#define H5Tset_fields (*sx_h5.Tset_fields_)
#define H5Tset_size (*sx_h5.Tset_size_)
#define H5Tset_strpad (*sx_h5.Tset_strpad_)
#define H5Zfilter_avail (*sx_h5.Zfilter_avail_)
#define H5open (*sx_h5.open_)
#define H5P_CLS_DATASET_CREATE_ID_g (*sx_h5.P_CLS_DATASET_CREATE_ID_g_)
#define H5T_C_S1_g (*sx_h5.T_C_S1_g_)
#define H5T_IEEE_F64LE_g (*sx_h5.T_IEEE_F64LE_g_)
#define H5T_NATIVE_DOUBLE_g (*sx_h5.T_NATIVE_DOUBLE_g_)
#define H5T_NATIVE_FLOAT_g (*sx_h5.T_NATIVE_FLOAT_g_)
#define H5T_NATIVE_INT16_g (*sx_h5.T_NATIVE_INT16_g_)
#define H5T_NATIVE_INT32_g (*sx_h5.T_NATIVE_INT32_g_)
#define H5T_NATIVE_INT64_g (*sx_h5.T_NATIVE_INT64_g_)
#define H5T_NATIVE_INT8_g (*sx_h5.T_NATIVE_INT8_g_)
#define H5T_NATIVE_INT_g (*sx_h5.T_NATIVE_INT_g_)
#define H5T_NATIVE_UINT16_g (*sx_h5.T_NATIVE_UINT16_g_)
#define H5T_NATIVE_UINT32_g (*sx_h5.T_NATIVE_UINT32_g_)
#define H5T_NATIVE_UINT64_g (*sx_h5.T_NATIVE_UINT64_g_)
#define H5T_NATIVE_UINT8_g (*sx_h5.T_NATIVE_UINT8_g_)
#define H5T_STD_I64LE_g (*sx_h5.T_STD_I64LE_g_)
#if SX_H5_HAS_CHUNK_ITER
#define H5Dchunk_iter (*sx_h5.Dchunk_iter_)
#endif
#endif

#endif
