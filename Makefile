# Every target does all the set-up it needs: packages, configuration, build.
#   make demo     from a fresh machine to a trained model, its loss curve and what it completes
#   make test     from a fresh machine to green tests
#   make build    the program, as bin/megalith
#   make bench    benchmarks, each beside what it is compared with
#   make format   repairs the formatting            make docs   reference of options, as docs/reference/options.md
#   make clean    removes what was built
# PRESET chooses the build: cpu, cuda, cpu-debug, cpu-asan, cpu-tsan; default: cuda where a GPU and nvcc are, else cpu.

HAS_GPU := $(shell nvidia-smi -L 2>/dev/null | grep -m1 -o '^GPU')
HAS_NVCC := $(shell command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
PRESET ?= $(if $(and $(HAS_GPU),$(HAS_NVCC)),cuda,cpu)
JOBS ?= $(shell nproc)
BUILD := build/$(PRESET)

.DEFAULT_GOAL := help
.PHONY: help demo test build program bench format docs clean setup configure

help:
	@sed -n '2,8s/^# \{0,3\}//p' Makefile

setup:
	@tools/setup.sh

configure: setup
	@mkdir -p build
	@cmake --preset $(PRESET) >build/configure.log 2>&1 || { cat build/configure.log; exit 1; }

# Only the program: what demo and build need.
program: configure
	@cmake --build --preset $(PRESET) --parallel $(JOBS) --target megalith_bin
	@mkdir -p bin && ln -sfn ../$(BUILD)/bin/megalith bin/megalith

build: program

demo: program
	@tools/demo.sh

test: program
	@cmake --build --preset $(PRESET) --parallel $(JOBS)
	@ctest --preset $(PRESET) --parallel $(JOBS)

bench: configure
	@cmake --build --preset $(PRESET) --parallel $(JOBS)
	@for program in $(BUILD)/bench/bench_*; do \
	  case $$program in *.*) continue ;; esac; \
	  if [ -x $$program ]; then echo "== $$program"; $$program || exit 1; fi; \
	done

format: setup
	@python3 tools/check_format.py --fix

docs: program
	@mkdir -p docs/reference
	@{ echo '# Options'; echo; echo 'Written by `make docs` from the declarations in the sources.'; echo; bin/megalith options; } >docs/reference/options.md
	@echo docs/reference/options.md

clean:
	rm -rf build bin
