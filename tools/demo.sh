#!/usr/bin/env bash
# From C++ source on this machine to a trained model: tokenizer, data, training, loss curve, completions. Every step is an ordinary
# megalith command, shown before it runs. The last line on stdout sums the run up.
set -euo pipefail
cd "$(dirname "$0")/.."

out=demo
megalith=bin/megalith
mkdir -p "$out"

# Shows a command and runs it.
run() {
  printf '\n$' >&2
  printf ' %q' "$@" >&2
  printf '\n' >&2
  "$@"
}

corpus=(megalith)
for folder in /usr/include/c++ /usr/include/boost; do
  if [ -d "$folder" ]; then corpus+=("$folder"); fi
done

run "$megalith" tokenizer train "${corpus[@]}" --vocab-size 4096 --max-bytes 8000000 --output "$out/tokenizer.json" >&2

run "$megalith" preprocess "${corpus[@]}" --tokenizer-model "$out/tokenizer.json" --append-eod --output-prefix "$out/corpus" >&2

rm -rf "$out/run"
summary=$(run "$megalith" train recipes/demo.yaml --data-path "$out/corpus_text_document" --tokenizer-model "$out/tokenizer.json" \
  --save "$out/run" "$@")
echo "$summary" >&2

run "$megalith" plot "$out/run" --title "Megalith demo: a small model learns C++" --out "$out/loss.svg" "$out/loss.png" >&2

prompts=(
  $'#include <vector>\n\nint main() {\n  std::'
  $'template<typename _Tp>\n  class '
  $'  /**\n   *  @brief  Returns'
)
for prompt in "${prompts[@]}"; do
  run "$megalith" generate --model "$out/run" --prompt "$prompt" --max-new-tokens 60 --temperature 0.6 --top-k 40 --seed 1
  echo
done

field() { sed -n "s|.*$1\([^,]*\).*|\1|p" <<<"$summary"; }
echo "demo: train loss $(field ': loss '), held-out loss $(field 'held-out loss '), $(sed -n 's|.*, \([0-9]*\) tokens/s.*|\1|p' <<<"$summary") tokens/s, plot $out/loss.png, checkpoint $(field 'checkpoint ')"
