"""Runs a WASI program in wasmtime: `python3 run-wasi.py PROGRAM.wasm ARGUMENTS`. It may read the folders of LOCKSTEP_WASI_DIRS."""

import os
import sys

from wasmtime import Engine, ExitTrap, Linker, Module, Store, WasiConfig

wasi = WasiConfig()
wasi.argv = sys.argv[1:]
wasi.env = list(os.environ.items())
wasi.inherit_stdout()
wasi.inherit_stderr()
for folder in filter(None, os.environ.get("LOCKSTEP_WASI_DIRS", "").split(":")):
    wasi.preopen_dir(folder, folder, fs_mutable=False)
engine = Engine()
store, linker = Store(engine), Linker(engine)
store.set_wasi(wasi)
linker.define_wasi()
program = linker.instantiate(store, Module.from_file(engine, sys.argv[1]))
try:
    program.exports(store)["_start"](store)
except ExitTrap as exit:
    sys.exit(exit.code)
