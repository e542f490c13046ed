/* HDF5's C library is not thread safe as it is usually built, and its state belongs to the process: the loader's thread and
 * whoever saves or loads a checkpoint hold this one lock around every call of it. Not recursive. */
#ifndef ZRT_BASE_HDF5_LOCK_H
#define ZRT_BASE_HDF5_LOCK_H

void zrt__hdf5_lock(void);
void zrt__hdf5_unlock(void);

#endif
