/* Goes on from token ids with the model in a folder: generate FOLDER MAX_TOKENS ID... Each line has a token and the digest of the
 * logits that it was chosen from. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lockstep.h"

static LockstepError error;

static int failed(const char *what) {
  fprintf(stderr, "generate: %s: %s\n", what, error.message);
  return 1;
}

/* A whole number below 2^32, or the end of the program. */
static uint32_t number(const char *text) {
  char *end;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  if (errno != 0 || *end != '\0' || *text < '0' || *text > '9' || value > UINT32_MAX) {
    fprintf(stderr, "generate: %s is no whole number below 2^32\n", text);
    exit(2);
  }
  return (uint32_t)value;
}

int main(int argc, char **argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: generate FOLDER MAX_TOKENS ID...\n");
    return 2;
  }
  size_t count = (size_t)argc - 3;
  uint32_t *prompt = malloc(count * sizeof *prompt);
  if (prompt == NULL) return 1;
  for (size_t i = 0; i < count; i++) prompt[i] = number(argv[i + 3]);

  LockstepModel *model = NULL;
  LockstepGeneration *generation = NULL;
  int code = 0;
  if (lockstep_model_open(argv[1], &model, &error) != LOCKSTEP_STATUS_OK) {
    code = failed("cannot open the model");
  } else if (lockstep_generation_new(model, prompt, count, number(argv[2]), NULL, &generation, &error) !=
             LOCKSTEP_STATUS_OK) {
    code = failed("cannot begin");
  } else {
    LockstepStep step;
    LockstepStatus status;
    while ((status = lockstep_generation_next(generation, &step, &error)) == LOCKSTEP_STATUS_OK) {
      printf("%u ", step.token_id);
      for (size_t i = 0; i < sizeof step.logits_sha256.bytes; i++) printf("%02x", step.logits_sha256.bytes[i]);
      printf("\n");
    }
    if (status != LOCKSTEP_STATUS_END) code = failed("cannot go on");
  }
  lockstep_generation_free(generation);
  lockstep_model_free(model);
  free(prompt);
  return code;
}
