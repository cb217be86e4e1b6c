/* Computes with the two tiny models of the contract what docs/vectors/tiny.json has, and prints it as lines of a name, a tab and a
 * value: the generations, the trainings, and the digests of the weights before and after. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lockstep.h"

enum { PROMPT = 70, TOKENS = 40, TEXTS = 2, FIRST = 40, SECOND = 23, STEPS = 3 };

static LockstepError error;

/* Ends the program where a function failed. */
static void must(LockstepStatus status) {
  if (status != LOCKSTEP_STATUS_OK) {
    fprintf(stderr, "golden: status %d: %s\n", (int)status, error.message);
    exit(1);
  }
}

static void print_hex(const LockstepDigest *digest) {
  for (size_t i = 0; i < sizeof digest->bytes; i++) printf("%02x", digest->bytes[i]);
}

static void print_digest(const char *name, unsigned number, const LockstepDigest *digest) {
  printf("%s %u\t", name, number);
  print_hex(digest);
  printf("\n");
}

static unsigned bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static void generate(const LockstepModel *model, unsigned number) {
  uint32_t prompt[PROMPT];
  for (uint32_t i = 0; i < PROMPT; i++) prompt[i] = i * 7 % 61;
  LockstepSampling sampling = lockstep_sampling_greedy();
  sampling.ignore_eos = 1;
  LockstepGeneration *generation;
  must(lockstep_generation_new(model, prompt, PROMPT, TOKENS, &sampling, &generation, &error));

  size_t tokens = 0;
  LockstepStep step;
  LockstepStatus status;
  while ((status = lockstep_generation_next(generation, &step, &error)) == LOCKSTEP_STATUS_OK) {
    if (++tokens == 1) print_digest("logits", number, &step.logits_sha256);
  }
  if (status != LOCKSTEP_STATUS_END) must(status);
  if (tokens != TOKENS || step.finish != LOCKSTEP_FINISH_LENGTH) {
    fprintf(stderr, "golden: %zu tokens instead of %d\n", tokens, TOKENS);
    exit(1);
  }
  /* The vectors name zeros as the digests of weights and tokenizer. */
  const LockstepDigest none = {{0}};
  LockstepDigest transcript;
  must(lockstep_generation_transcript(generation, &none, &none, &transcript, &error));
  print_digest("generation", number, &transcript);
  lockstep_generation_free(generation);
}

static void train(const LockstepModel *model, unsigned number) {
  /* Two texts, one after the other. */
  uint32_t ids[FIRST + SECOND];
  const size_t lengths[TEXTS] = {FIRST, SECOND};
  for (uint32_t i = 0; i < FIRST; i++) ids[i] = i * i % 61;
  for (uint32_t i = 0; i < SECOND; i++) ids[FIRST + i] = i * i % 61;

  LockstepTraining training = lockstep_training_defaults();
  training.learning_rate = 0.01;
  training.warmup = 2;
  training.cosine_steps = 10;
  if (number == 1) {
    training.momentum = 0.9;
  } else {
    training.optimizer = LOCKSTEP_OPTIMIZER_ADAMW;
    training.weight_decay = 0.1;
    training.clip_norm = 0.5;
  }
  LockstepTrainer *trainer;
  must(lockstep_trainer_new(model, &training, &trainer, &error));
  for (int i = 0; i < STEPS; i++) {
    LockstepReport report;
    must(lockstep_trainer_step(trainer, ids, lengths, TEXTS, &report, &error));
    printf("training %u, step %u\t", number, (unsigned)report.step);
    print_hex(&report.digest);
    printf(" loss %08x norm %08x\n", bits(report.loss), bits(report.grad_norm));
  }

  LockstepModel *trained;
  LockstepDigest digest;
  must(lockstep_trainer_model(trainer, &trained, &error));
  lockstep_trainer_free(trainer);
  must(lockstep_model_weights_digest(trained, &digest, &error));
  print_digest("trained weights", number, &digest);
  lockstep_model_free(trained);
}

int main(void) {
  must(lockstep_self_test(&error));
  for (unsigned number = 1; number <= 2; number++) {
    LockstepModel *model;
    LockstepDigest digest;
    must(lockstep_model_tiny(number, &model, &error));
    must(lockstep_model_weights_digest(model, &digest, &error));
    print_digest("weights", number, &digest);
    generate(model, number);
    train(model, number);
    lockstep_model_free(model);
  }
  return 0;
}
