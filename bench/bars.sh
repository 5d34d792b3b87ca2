#!/usr/bin/env bash
# Measures one RMSProp step on 1Mi parameters, on one thread, with kernel and with what people use
# instead, one program after the other on this machine, and draws the times as bars:
#
#	bash bench/bars.sh            # writes bench/results/step.txt and bench/results/step.svg
#	bash bench/bars.sh FOLDER/NAME
#
# PYTHON names the interpreter whose libraries are measured. What is missing is named and left out.
set -euo pipefail
out=$(realpath -m --relative-to="$(dirname "$0")" "${1:-$(dirname "$0")/results/step}")
cd "$(dirname "$0")"
go run . -sizes 1Mi -time 300ms -peers all -out "$out.txt"
step() { # INTEGRATION BENCHMARKS
	go test -C "../integrations/$1" -run '^$' -bench "$2" -cpu 1 -count 5 -benchtime 300ms . | grep '^Benchmark' | tee -a "$out.txt"
}
step gorgonia '^BenchmarkStep$/^float32$/^gorgonia$'
step gomlx '^BenchmarkStep$/^(gomlx|gradients)$'
go run ./bars "$out.txt" >"$out.svg"
