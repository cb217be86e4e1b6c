"""Lockstep from Python, by ctypes and the C library: `include/lockstep.h` says what each function does.

The library is `liblockstep.so` (`cargo build --release -p capi`), at the path that `LOCKSTEP_LIBRARY` names or that is given to
`load`. Python's own library is all that is needed.

    import lockstep
    library = lockstep.load("target/release/liblockstep.so")
    with library.open("models/SmolLM2-135M-Instruct") as model:
        for step in model.generate([1, 2, 3], max_tokens=5):
            print(step.token_id, step.logits_sha256)
"""

import ctypes
import os
import struct
from collections import namedtuple
from ctypes import POINTER, byref, c_char, c_char_p, c_double, c_float, c_int, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p

OK, END = 0, 1
STATUS = ("ok", "end", "argument", "model", "compute", "environment", "mismatch", "internal")
FINISH = (None, "stop", "length")
OPTIMIZERS = {"sgd": 0, "adamw": 1}


class _Error(ctypes.Structure):
    _fields_ = [("message", c_char * 1024)]


class _Digest(ctypes.Structure):
    _fields_ = [("bytes", c_uint8 * 32)]

    def hex(self):
        return bytes(self.bytes).hex()


class _Shape(ctypes.Structure):
    _fields_ = [(name, c_size_t) for name in ("vocab", "context", "layers", "dim")]


class _Sampling(ctypes.Structure):
    _fields_ = [
        *((name, c_double) for name in ("temperature", "top_p", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty")),
        ("seed", c_uint64),
        ("top_k", c_uint32),
        ("ignore_eos", c_uint32),
    ]


class _Step(ctypes.Structure):
    _fields_ = [("step", c_size_t), ("token_id", c_uint32), ("finish", c_int), ("logits_sha256", _Digest)]


class _Training(ctypes.Structure):
    _fields_ = [
        *((name, c_double) for name in ("learning_rate", "momentum", "beta1", "beta2", "eps", "weight_decay", "clip_norm")),
        ("warmup", c_uint64),
        ("cosine_steps", c_uint64),
        ("optimizer", c_uint32),
        ("recompute", c_uint32),
    ]


class _Report(ctypes.Structure):
    _fields_ = [
        ("step", c_uint64),
        ("tokens", c_size_t),
        ("loss", c_float),
        ("grad_norm", c_float),
        ("learning_rate", c_float),
        ("digest", _Digest),
    ]


# Every function of the header: its result and its arguments. Those with a status take a place for the message, last.
_STATUS = c_int
_IDS, _HANDLE = POINTER(c_uint32), POINTER(c_void_p)
FUNCTIONS = {
    "lockstep_profile": (c_char_p, []),
    "lockstep_self_test": (_STATUS, []),
    "lockstep_model_open": (_STATUS, [c_char_p, _HANDLE]),
    "lockstep_model_from_bytes": (_STATUS, [c_char_p, c_size_t, c_char_p, c_size_t, _HANDLE]),
    "lockstep_model_tiny": (_STATUS, [c_uint32, _HANDLE]),
    "lockstep_model_shape": (_STATUS, [c_void_p, POINTER(_Shape)]),
    "lockstep_model_weights_digest": (_STATUS, [c_void_p, POINTER(_Digest)]),
    "lockstep_model_logits": (_STATUS, [c_void_p, _IDS, c_size_t, POINTER(c_float), c_size_t]),
    "lockstep_model_free": (None, [c_void_p]),
    "lockstep_sampling_greedy": (_Sampling, []),
    "lockstep_generation_new": (_STATUS, [c_void_p, _IDS, c_size_t, c_size_t, POINTER(_Sampling), _HANDLE]),
    "lockstep_generation_next": (_STATUS, [c_void_p, POINTER(_Step)]),
    "lockstep_generation_transcript": (_STATUS, [c_void_p, POINTER(_Digest), POINTER(_Digest), POINTER(_Digest)]),
    "lockstep_generation_free": (None, [c_void_p]),
    "lockstep_training_defaults": (_Training, []),
    "lockstep_trainer_new": (_STATUS, [c_void_p, POINTER(_Training), _HANDLE]),
    "lockstep_trainer_step": (_STATUS, [c_void_p, _IDS, POINTER(c_size_t), c_size_t, POINTER(_Report)]),
    "lockstep_trainer_model": (_STATUS, [c_void_p, _HANDLE]),
    "lockstep_trainer_free": (None, [c_void_p]),
}

Shape = namedtuple("Shape", "vocab context layers dim")
Step = namedtuple("Step", "step token_id finish logits_sha256")
Report = namedtuple("Report", "step tokens loss grad_norm learning_rate digest")


class LockstepError(Exception):
    """What the library refused; `status` is one of the words of STATUS."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = STATUS[status]


def float_bits(value):
    """The bits of a binary32 number, as 8 hexadecimal digits."""
    return struct.pack(">f", value).hex()


def load(path=None):
    """The library at `path`, or at the one that LOCKSTEP_LIBRARY names."""
    path = path or os.environ.get("LOCKSTEP_LIBRARY")
    if path is None:
        raise OSError("give the path of liblockstep.so, or name it in LOCKSTEP_LIBRARY; `cargo build --release -p capi` makes it")
    return Library(path)


class Library:
    """The functions of the C library."""

    def __init__(self, path):
        self._c = ctypes.CDLL(os.fspath(path))
        for name, (result, arguments) in FUNCTIONS.items():
            function = getattr(self._c, name)
            function.restype = result
            function.argtypes = arguments + ([POINTER(_Error)] if result is _STATUS else [])

    @property
    def profile(self):
        """The name and version of the numeric contract."""
        return self._c.lockstep_profile().decode()

    def self_test(self):
        """Raises an error if this machine or this build does not compute the bits of the contract."""
        self.call("self_test")

    def open(self, folder):
        """The model in a folder as Hugging Face lays it out."""
        return Model(self, self.handle("model_open", os.fsencode(folder)))

    def from_bytes(self, config, weights):
        """A model of the bytes of a config.json and of a safetensors file."""
        return Model(self, self.handle("model_from_bytes", config, len(config), weights, len(weights)))

    def tiny(self, number):
        """A tiny model of the contract, 1 or 2."""
        return Model(self, self.handle("model_tiny", _whole("number", number, 32)))

    def call(self, name, *arguments, ends=False):
        """Calls a function, and raises its error; whether it ended, for one that can."""
        error = _Error()
        status = getattr(self._c, f"lockstep_{name}")(*arguments, byref(error))
        if status == END and ends:
            return True
        if status != OK:
            raise LockstepError(status, error.message.decode())
        return False

    def handle(self, name, *arguments):
        handle = c_void_p()
        self.call(name, *arguments, byref(handle))
        return handle

    def free(self, kind, handle):
        getattr(self._c, f"lockstep_{kind}_free")(handle)

    def options(self, function, given):
        """What a function gives as defaults, with what is given instead."""
        options = getattr(self._c, f"lockstep_{function}")()
        kinds = dict(options._fields_)
        for name, value in given.items():
            if name not in kinds:
                raise TypeError(f"there is no {name}; there are: {', '.join(kinds)}")
            if kinds[name] is not c_double:
                value = _whole(name, value, 8 * ctypes.sizeof(kinds[name]))
            setattr(options, name, value)
        return options


class _Handle:
    """Something of the library that is freed once: at the end of a `with`, by `close`, or when nobody needs it."""

    _kind = None

    def __init__(self, library, handle):
        self._library, self._pointer = library, handle

    @property
    def _handle(self):
        if self._pointer is None:
            raise ValueError(f"this {self._kind} was closed")
        return self._pointer

    def close(self):
        pointer, self._pointer = getattr(self, "_pointer", None), None
        if pointer is not None:
            self._library.free(self._kind, pointer)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __del__(self):
        self.close()


class Model(_Handle):
    """A model, which nothing changes."""

    _kind = "model"

    @property
    def shape(self):
        shape = _Shape()
        self._library.call("model_shape", self._handle, byref(shape))
        return Shape(*(getattr(shape, name) for name in Shape._fields))

    def weights_digest(self):
        """The digest of the weights, in hexadecimal digits."""
        digest = _Digest()
        self._library.call("model_weights_digest", self._handle, byref(digest))
        return digest.hex()

    def logits(self, ids):
        """The logits of the token after `ids`."""
        logits = (c_float * self.shape.vocab)()
        self._library.call("model_logits", self._handle, _ids(ids), len(ids), logits, len(logits))
        return list(logits)

    def generate(self, prompt, max_tokens, **sampling):
        """A generation: an iterator of its steps. The names of `sampling` are the header's; it is greedy without any."""
        sampling = self._library.options("sampling_greedy", sampling)
        arguments = (_ids(prompt), len(prompt), _whole("max_tokens", max_tokens, 8 * ctypes.sizeof(c_size_t)), byref(sampling))
        return Generation(self._library, self._library.handle("generation_new", self._handle, *arguments))

    def train(self, optimizer="sgd", **training):
        """A trainer that begins with this model. The names of `training` are the header's."""
        if optimizer not in OPTIMIZERS:
            raise ValueError(f"there is no optimizer {optimizer!r}; choose one of: {', '.join(OPTIMIZERS)}")
        training = self._library.options("training_defaults", {**training, "optimizer": OPTIMIZERS[optimizer]})
        return Trainer(self._library, self._library.handle("trainer_new", self._handle, byref(training)))


class Generation(_Handle):
    """A generation under way."""

    _kind = "generation"

    def __iter__(self):
        return self

    def __next__(self):
        step = _Step()
        if self._library.call("generation_next", self._handle, byref(step), ends=True):
            raise StopIteration
        return Step(step.step, step.token_id, FINISH[step.finish], step.logits_sha256.hex())

    def transcript(self, weights, tokenizer):
        """The digest of all so far; `weights` and `tokenizer` are digests in hexadecimal digits."""
        digest = _Digest()
        named = (_digest("weights", weights), _digest("tokenizer", tokenizer))
        self._library.call("generation_transcript", self._handle, *map(byref, named), byref(digest))
        return digest.hex()


class Trainer(_Handle):
    """A model in training."""

    _kind = "trainer"

    def step(self, texts):
        """Learns from one batch: lists of token ids."""
        texts = [list(text) for text in texts]
        ids = [token for text in texts for token in text]
        lengths = (c_size_t * len(texts))(*map(len, texts))
        report = _Report()
        self._library.call("trainer_step", self._handle, _ids(ids), lengths, len(texts), byref(report))
        numbers = (report.step, report.tokens, report.loss, report.grad_norm, report.learning_rate)
        return Report(*numbers, report.digest.hex())

    def model(self):
        """A copy of the model as it is now."""
        return Model(self._library, self._library.handle("trainer_model", self._handle))


def _whole(name, value, bits):
    """ctypes would cut a number that is too large."""
    if not isinstance(value, int) or not 0 <= value < 1 << bits:
        raise ValueError(f"{name} is {value!r}; choose a whole number from 0 to below 2^{bits}")
    return int(value)


def _ids(ids):
    return (c_uint32 * len(ids))(*(_whole("a token", token, 32) for token in ids))


def _digest(name, text):
    digits = bytes.fromhex(text)
    if len(digits) != 32:
        raise ValueError(f"{name} has {len(digits)} bytes; a digest has 32")
    return _Digest((c_uint8 * 32)(*digits))
