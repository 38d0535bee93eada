"""A comparison over several servers, on Dask: `python -m lib_fewstep.compare`."""
