/* What a caller can do wrong: each gives a status and a message, and none crashes. `misuse FOLDER` has a folder in which damaged
 * models can be written. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lockstep.h"

static LockstepError error;
static int failures;
static int checks;

static void expect(int line, LockstepStatus status, LockstepStatus wanted, const char *part) {
  checks++;
  if (status != wanted || strstr(error.message, part) == NULL) {
    fprintf(stderr, "misuse.c:%d: status %d, \"%s\"; expected %d, \"...%s...\"\n", line, (int)status, error.message,
            (int)wanted, part);
    failures++;
  }
}

static void expect_null(int line, const void *handle) {
  checks++;
  if (handle != NULL) {
    fprintf(stderr, "misuse.c:%d: a handle that is not null after a failure\n", line);
    failures++;
  }
}

#define ARGUMENT(call, part) expect(__LINE__, call, LOCKSTEP_STATUS_ARGUMENT, part)
#define MODEL(call, part) expect(__LINE__, call, LOCKSTEP_STATUS_MODEL, part)
#define OK(call) expect(__LINE__, call, LOCKSTEP_STATUS_OK, "")
#define IS_NULL(handle) expect_null(__LINE__, handle)

/* Not null, so that the library has something to clear. */
#define DIRTY(type) ((type *)&failures)

static void models(const char *folder) {
  LockstepModel *model = DIRTY(LockstepModel);
  MODEL(lockstep_model_open("/no/such/folder", &model, &error), "/no/such/folder/config.json: ");
  IS_NULL(model);
  ARGUMENT(lockstep_model_open(NULL, &model, &error), "folder is a null pointer");
  ARGUMENT(lockstep_model_open(folder, NULL, &error), "the place for the handle is a null pointer");
  if (lockstep_model_open(NULL, &model, NULL) != LOCKSTEP_STATUS_ARGUMENT) failures++;

  char path[4096];
  snprintf(path, sizeof path, "%s/config.json", folder);
  FILE *file = fopen(path, "w");
  if (file == NULL || fputs("{\"model_type\": \"gpt2\"}", file) < 0 || fclose(file) != 0) {
    perror(path);
    exit(1);
  }
  MODEL(lockstep_model_open(folder, &model, &error), "holds neither model.safetensors");
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  const uint8_t weights[] = {2, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
  file = fopen(path, "wb");
  if (file == NULL || fwrite(weights, 1, sizeof weights, file) != sizeof weights || fclose(file) != 0) {
    perror(path);
    exit(1);
  }
  MODEL(lockstep_model_open(folder, &model, &error), "gpt2");

  const uint8_t *config = (const uint8_t *)"{}";
  MODEL(lockstep_model_from_bytes(config, 2, weights, sizeof weights, &model, &error), "model_type");
  MODEL(lockstep_model_from_bytes(config, 2, weights, sizeof weights - 1, &model, &error), "");
  MODEL(lockstep_model_from_bytes(config, 2, NULL, 0, &model, &error), "");
  MODEL(lockstep_model_from_bytes(config, 1, weights, sizeof weights, &model, &error), "JSON");
  ARGUMENT(lockstep_model_from_bytes(NULL, 2, weights, sizeof weights, &model, &error), "config is a null pointer");
  ARGUMENT(lockstep_model_from_bytes(config, 2, NULL, 1, &model, &error), "weights is a null pointer");
  ARGUMENT(lockstep_model_from_bytes(config, 2, weights, SIZE_MAX, &model, &error), "more than memory has");
  ARGUMENT(lockstep_model_tiny(3, &model, &error), "choose 1 or 2");
  IS_NULL(model);
  lockstep_model_free(NULL);
}

static void reading(const LockstepModel *model) {
  LockstepShape shape;
  LockstepDigest digest;
  OK(lockstep_model_shape(model, &shape, &error));
  if (shape.vocab != 61 || shape.context != 256 || shape.layers != 2 || shape.dim != 36) failures++;
  ARGUMENT(lockstep_model_shape(NULL, &shape, &error), "model is a null pointer");
  ARGUMENT(lockstep_model_shape(model, NULL, &error), "shape is a null pointer");
  ARGUMENT(lockstep_model_weights_digest(NULL, &digest, &error), "model is a null pointer");
  ARGUMENT(lockstep_model_weights_digest(model, NULL, &error), "digest is a null pointer");

  /* One place more than the library may write to. */
  float logits[62];
  logits[61] = 7.0f;
  uint32_t ids[257] = {1, 2, 3};
  OK(lockstep_model_logits(model, ids, 3, logits, 61, &error));
  if (logits[61] != 7.0f) failures++;
  ARGUMENT(lockstep_model_logits(NULL, ids, 3, logits, 61, &error), "model is a null pointer");
  ARGUMENT(lockstep_model_logits(model, NULL, 3, logits, 61, &error), "ids is a null pointer");
  ARGUMENT(lockstep_model_logits(model, ids, 3, NULL, 61, &error), "logits is a null pointer");
  ARGUMENT(lockstep_model_logits(model, ids, 3, logits, 62, &error), "62 places for 61 values");
  ARGUMENT(lockstep_model_logits(model, ids, 0, logits, 61, &error), "");
  ARGUMENT(lockstep_model_logits(model, ids, 257, logits, 61, &error), "context");
  ARGUMENT(lockstep_model_logits(model, (const uint32_t *)((uintptr_t)ids + 1), 2, logits, 61, &error), "no multiple of 4");
  ids[2] = 61;
  ARGUMENT(lockstep_model_logits(model, ids, 3, logits, 61, &error), "token 61");
}

static void generations(const LockstepModel *model) {
  LockstepGeneration *generation = DIRTY(LockstepGeneration);
  LockstepStep step;
  LockstepDigest digest = {{0}};
  const uint32_t prompt[] = {1, 2, 61};
  ARGUMENT(lockstep_generation_new(NULL, prompt, 2, 1, NULL, &generation, &error), "model is a null pointer");
  IS_NULL(generation);
  ARGUMENT(lockstep_generation_new(model, NULL, 2, 1, NULL, &generation, &error), "prompt is a null pointer");
  ARGUMENT(lockstep_generation_new(model, prompt, 0, 1, NULL, &generation, &error), "");
  ARGUMENT(lockstep_generation_new(model, prompt, 3, 1, NULL, &generation, &error), "token 61");
  ARGUMENT(lockstep_generation_new(model, prompt, 2, 0, NULL, &generation, &error), "max_tokens");
  ARGUMENT(lockstep_generation_new(model, prompt, 2, 255, NULL, &generation, &error), "context");
  ARGUMENT(lockstep_generation_new(model, prompt, 2, SIZE_MAX, NULL, &generation, &error), "context");
  LockstepSampling sampling = lockstep_sampling_greedy();
  sampling.top_p = 0.0;
  ARGUMENT(lockstep_generation_new(model, prompt, 2, 1, &sampling, &generation, &error), "top_p is 0");

  OK(lockstep_generation_new(model, prompt, 2, 1, NULL, &generation, &error));
  ARGUMENT(lockstep_generation_next(NULL, &step, &error), "generation is a null pointer");
  ARGUMENT(lockstep_generation_next(generation, NULL, &error), "step is a null pointer");
  OK(lockstep_generation_next(generation, &step, &error));
  if (step.step != 1 || step.finish != LOCKSTEP_FINISH_LENGTH) failures++;
  step.step = 7;
  expect(__LINE__, lockstep_generation_next(generation, &step, &error), LOCKSTEP_STATUS_END, "has ended");
  if (step.step != 7) failures++;
  ARGUMENT(lockstep_generation_transcript(NULL, &digest, &digest, &digest, &error), "generation is a null pointer");
  ARGUMENT(lockstep_generation_transcript(generation, NULL, &digest, &digest, &error), "weights is a null pointer");
  ARGUMENT(lockstep_generation_transcript(generation, &digest, NULL, &digest, &error), "tokenizer is a null pointer");
  ARGUMENT(lockstep_generation_transcript(generation, &digest, &digest, NULL, &error), "digest is a null pointer");
  lockstep_generation_free(generation);
  lockstep_generation_free(NULL);
}

static void trainings(const LockstepModel *model) {
  LockstepTrainer *trainer = DIRTY(LockstepTrainer);
  LockstepTraining training = lockstep_training_defaults();
  ARGUMENT(lockstep_trainer_new(NULL, NULL, &trainer, &error), "model is a null pointer");
  IS_NULL(trainer);
  training.optimizer = 2;
  ARGUMENT(lockstep_trainer_new(model, &training, &trainer, &error), "there is no optimizer 2");
  training = lockstep_training_defaults();
  training.learning_rate = -1.0;
  ARGUMENT(lockstep_trainer_new(model, &training, &trainer, &error), "learning_rate is -1");
  training.learning_rate = 1e60;
  ARGUMENT(lockstep_trainer_new(model, &training, &trainer, &error), "learning_rate is 1");
  training = lockstep_training_defaults();
  training.momentum = 1.0;
  ARGUMENT(lockstep_trainer_new(model, &training, &trainer, &error), "momentum is 1");
  training = lockstep_training_defaults();
  training.clip_norm = -1.0;
  ARGUMENT(lockstep_trainer_new(model, &training, &trainer, &error), "clip_norm is -1");

  LockstepReport report;
  LockstepModel *trained = DIRTY(LockstepModel);
  uint32_t ids[] = {1, 2, 3, 4};
  size_t lengths[] = {2, 2};
  OK(lockstep_trainer_new(model, NULL, &trainer, &error));
  ARGUMENT(lockstep_trainer_step(NULL, ids, lengths, 2, &report, &error), "trainer is a null pointer");
  ARGUMENT(lockstep_trainer_step(trainer, NULL, lengths, 2, &report, &error), "ids is a null pointer");
  ARGUMENT(lockstep_trainer_step(trainer, ids, NULL, 2, &report, &error), "lengths is a null pointer");
  ARGUMENT(lockstep_trainer_step(trainer, ids, lengths, 2, NULL, &error), "report is a null pointer");
  ARGUMENT(lockstep_trainer_step(trainer, ids, lengths, 0, &report, &error), "nothing to learn from");
  lengths[1] = SIZE_MAX;
  ARGUMENT(lockstep_trainer_step(trainer, ids, lengths, 2, &report, &error), "more than memory has");
  lengths[1] = SIZE_MAX / 8;
  ARGUMENT(lockstep_trainer_step(trainer, ids, lengths, 2, &report, &error), "more than memory has");
  lengths[1] = 1;
  ARGUMENT(lockstep_trainer_step(trainer, ids, lengths, 2, &report, &error), "nothing to learn from");
  lengths[1] = 2;
  ids[3] = 61;
  ARGUMENT(lockstep_trainer_step(trainer, ids, lengths, 2, &report, &error), "token 61");
  ids[3] = 4;
  OK(lockstep_trainer_step(trainer, ids, lengths, 2, &report, &error));
  if (report.step != 1 || report.tokens != 4) failures++;
  ARGUMENT(lockstep_trainer_model(NULL, &trained, &error), "trainer is a null pointer");
  IS_NULL(trained);
  ARGUMENT(lockstep_trainer_model(trainer, NULL, &error), "the place for the handle is a null pointer");
  lockstep_trainer_free(trainer);

  /* The weights run away: the loss, or a gradient, is no longer finite. */
  training = lockstep_training_defaults();
  training.learning_rate = 1e30;
  OK(lockstep_trainer_new(model, &training, &trainer, &error));
  OK(lockstep_trainer_step(trainer, ids, lengths, 2, &report, &error));
  expect(__LINE__, lockstep_trainer_step(trainer, ids, lengths, 2, &report, &error), LOCKSTEP_STATUS_COMPUTE, "finite");
  lockstep_trainer_free(trainer);
  lockstep_trainer_free(NULL);
}

/* A handle keeps what it needs. */
static void orders(void) {
  LockstepModel *model;
  LockstepGeneration *generation;
  LockstepStep step;
  const uint32_t prompt = 1;
  OK(lockstep_model_tiny(2, &model, &error));
  OK(lockstep_generation_new(model, &prompt, 1, 2, NULL, &generation, &error));
  lockstep_model_free(model);
  OK(lockstep_generation_next(generation, &step, &error));
  OK(lockstep_generation_next(generation, &step, &error));
  lockstep_generation_free(generation);
}

int main(int argc, char **argv) {
  LockstepModel *model;
  if (argc != 2 || lockstep_model_tiny(1, &model, &error) != LOCKSTEP_STATUS_OK) {
    fprintf(stderr, "usage: misuse FOLDER\n");
    return 2;
  }
  if (strcmp(lockstep_profile(), "lockstep/1") != 0) failures++;
  models(argv[1]);
  reading(model);
  generations(model);
  trainings(model);
  lockstep_model_free(model);
  orders();
  printf("%d checks, %d failures\n", checks, failures);
  return failures == 0 ? 0 : 1;
}
