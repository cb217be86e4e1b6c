"""The Python module, tested: `LOCKSTEP_LIBRARY=target/release/liblockstep.so python3 -m unittest` in this folder."""

import contextlib
import ctypes
import json
import pathlib
import re
import unittest

import lockstep

ROOT = pathlib.Path(__file__).resolve().parents[3]
VECTORS = json.loads((ROOT / "docs/vectors/tiny.json").read_text())
NONE = "00" * 32
LIBRARY = lockstep.load()


class Golden(unittest.TestCase):
    """The published values of the tiny models."""

    def compare(self, name, found):
        self.assertEqual(found, VECTORS["values"][name], name)

    def test_profile_and_self_test(self):
        self.assertEqual(LIBRARY.profile, VECTORS["profile"])
        LIBRARY.self_test()

    def test_generations(self):
        drawn = {
            1: {"temperature": 1.5, "top_k": 20, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.25, "seed": 2},
            2: {"temperature": 1.5, "seed": 1},
        }
        prompt = [i * 7 % 61 for i in range(70)]
        for number in (1, 2):
            with LIBRARY.tiny(number) as model:
                for name, sampling in (("generation", {}), ("sampling", drawn[number])):
                    with model.generate(prompt, 40, ignore_eos=1, **sampling) as generation:
                        steps = list(generation)
                        self.compare(f"{name} {number}", generation.transcript(NONE, NONE))
                    self.compare(f"logits {number}", steps[0].logits_sha256)
                    self.assertEqual([step.finish for step in steps], [None] * 39 + ["length"])
                self.assertEqual(len(model.logits(prompt)), 61)

    def test_trainings(self):
        options = {
            1: {"momentum": 0.9},
            2: {"optimizer": "adamw", "weight_decay": 0.1, "clip_norm": 0.5},
        }
        batch = [[i * i % 61 for i in range(length)] for length in (40, 23)]
        for number in (1, 2):
            model = LIBRARY.tiny(number)
            trainer = model.train(learning_rate=0.01, warmup=2, cosine_steps=10, **options[number])
            before = model.weights_digest()
            model.close()
            for step in (1, 2, 3):
                report = trainer.step(batch)
                bits = [lockstep.float_bits(value) for value in (report.loss, report.grad_norm)]
                self.compare(f"training {number}, step {step}", f"{report.digest} loss {bits[0]} norm {bits[1]}")
                self.assertEqual((report.step, report.tokens), (step, 63))
            self.assertNotEqual(trainer.model().weights_digest(), before)
            trainer.close()


class Refusals(unittest.TestCase):
    """What the library or the module refuses."""

    @contextlib.contextmanager
    def refused(self, status, part):
        """An error of the library with this status and this part of a message."""
        with self.assertRaises(lockstep.LockstepError) as caught:
            yield
        self.assertEqual(caught.exception.status, status, caught.exception)
        self.assertIn(part, str(caught.exception))

    def test_models(self):
        with self.refused("model", "config.json"):
            LIBRARY.open("/no/such/folder")
        with self.refused("model", ""):
            LIBRARY.from_bytes(b"{}", b"")
        with self.refused("argument", "choose 1 or 2"):
            LIBRARY.tiny(3)
        with self.assertRaisesRegex(ValueError, "below 2\\^32"):
            LIBRARY.tiny(-1)

    def test_generations(self):
        model = LIBRARY.tiny(1)
        for prompt, tokens, sampling, part in (
            ([], 1, {}, ""),
            ([61], 1, {}, "token 61"),
            ([1], 0, {}, "max_tokens"),
            ([1], 256, {}, "context"),
            ([1], 1, {"temperature": -1.0}, "temperature"),
            ([1], 1, {"temperature": float("nan")}, "temperature"),
        ):
            with self.refused("argument", part):
                model.generate(prompt, tokens, **sampling)
        with self.assertRaisesRegex(ValueError, "a token"):
            model.generate([1 << 32], 1)
        with self.assertRaisesRegex(TypeError, "heat"):
            model.generate([1], 1, heat=1)
        with self.assertRaisesRegex(ValueError, "seed"):
            model.generate([1], 1, seed=1 << 64)
        generation = model.generate([1], 1)
        with self.assertRaisesRegex(ValueError, "32"):
            generation.transcript("00", NONE)
        model.close()
        # It keeps what it needs.
        self.assertEqual(len(list(generation)), 1)
        generation.close()
        generation.close()
        for closed in (lambda: next(generation), lambda: model.shape):
            with self.assertRaisesRegex(ValueError, "was closed"):
                closed()

    def test_trainings(self):
        model = LIBRARY.tiny(2)
        with self.refused("argument", "learning_rate"):
            model.train(learning_rate=0.0)
        with self.assertRaisesRegex(ValueError, "sgd, adamw"):
            model.train(optimizer="lion")
        trainer = model.train()
        for texts in ([], [[]], [[1]], [[1, 2], []]):
            with self.refused("argument", "nothing to learn from"):
                trainer.step(texts)
        self.assertEqual(trainer.step([[1, 2]]).step, 1)


class Header(unittest.TestCase):
    """The module has what the header has."""

    CODE = re.sub("//.*", "", (ROOT / "kernel/capi/include/lockstep.h").read_text())

    def test_every_function_is_bound(self):
        names = set(re.findall(r"\b(lockstep_\w+)\((?=[^;]*\);)", self.CODE))
        self.assertEqual(names, set(lockstep.FUNCTIONS))

    def test_every_struct_has_the_fields(self):
        words = {
            "char": ctypes.c_char,
            "double": ctypes.c_double,
            "float": ctypes.c_float,
            "size_t": ctypes.c_size_t,
            "uint8_t": ctypes.c_uint8,
            "uint32_t": ctypes.c_uint32,
            "uint64_t": ctypes.c_uint64,
            # An enum, which is an int.
            "enum LockstepFinish": ctypes.c_int,
            "struct LockstepDigest": lockstep._Digest,
        }
        found = re.findall(r"typedef struct Lockstep(\w+) \{(.*?)\}", self.CODE, re.DOTALL)
        self.assertEqual(len(found), 7)
        for name, body in found:
            fields = []
            for kind, field, places in re.findall(r"([\w ]+?)\s+(\w+)(?:\[(\w+)\])?;", body):
                places = {"": 0, "LOCKSTEP_MESSAGE_SIZE": 1024}.get(places) or int(places or 0)
                kind = words[kind.strip()]
                fields.append((field, kind * places if places else kind))
            self.assertEqual(getattr(lockstep, f"_{name}")._fields_, fields, name)


if __name__ == "__main__":
    unittest.main()
