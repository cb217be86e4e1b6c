#!/bin/sh
# One federated round of three clients, checked: sh docs/examples/federated_round.sh [FOLDER]
#
# Each client trains a low-rank adapter on its own text in a folder of its own, and gives away the adapter and a private receipt. The
# three are put together; the aggregate is verified by whoever has the adapters, each training by whoever has its text; and what
# the round learnt is measured and put into the weights. docs/federated.md says what each step means.
#
# LOCKSTEP is the program (default: lockstep), LOCKSTEP_MODEL the model's folder. FOLDER is where everything goes (default: a new
# one in the system's temporary folder).
set -eu

lockstep=${LOCKSTEP:-lockstep}
folder=${1:-$(mktemp -d)}
private=$folder/private public=$folder/public
mkdir -p "$private" "$public"

# What stays with the clients.
echo "The cat sat on the mat and purred loudly." > "$private/alice.txt"
echo "The dog ran to the sea and barked at the waves." > "$private/bob.txt"
echo "A bird sang in the tree until the sun went down." > "$private/carol.txt"

for client in alice bob carol; do
  echo "== $client trains on its own text, and gives away adapter and receipt"
  # All begin with the same new adapter: --seed decides it.
  "$lockstep" train --text "$(cat "$private/$client.txt")" --method lora --lora-rank 4 --seed 1 --optimizer adamw --learning-rate 0.002 \
    --steps 4 --save "$public/$client" --receipt "$public/$client.json" --private > "$private/$client.log"
done

echo "== anyone puts the three together, in any order"
"$lockstep" aggregate --adapter "$public/carol" --adapter "$public/alice" --adapter "$public/bob" \
  --client-receipt "$public/alice.json" --client-receipt "$public/bob.json" --client-receipt "$public/carol.json" \
  --save "$public/round" --receipt "$public/round.json"

echo "== anyone who has the adapters computes the aggregate again"
"$lockstep" verify "$public/round.json" --adapter "$public/alice" --adapter "$public/bob" --adapter "$public/carol"

echo "== a training is computed again by who has its text: here each client's own"
for client in alice bob carol; do
  "$lockstep" verify "$public/$client.json" --text "$(cat "$private/$client.txt")"
done

echo "== the log-likelihood of the three texts: before, with the round's adapter, with it in the weights"
"$lockstep" merge --adapter "$public/round" --save "$public/next"
for client in alice bob carol; do
  printf '{"text":"%s"}\n' "$(cat "$private/$client.txt")"
done > "$private/all.jsonl"
"$lockstep" score --data "$private/all.jsonl" --output "$private/before.jsonl" --json
"$lockstep" score --data "$private/all.jsonl" --output "$private/after.jsonl" --json --adapter "$public/round"
"$lockstep" score --data "$private/all.jsonl" --output "$private/merged.jsonl" --json --model "$public/next"
echo "everything is in $folder"
