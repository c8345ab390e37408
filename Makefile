# BlockGroups: everything that is more than one `swift build`.
#
# `make run` and `make test` work on a fresh Debian 12 with Swift 6.3 and nothing else of ours: both
# begin with `setup`, which installs the Debian packages that are missing and says so.
# `make help` lists the targets. Results go to build/, SwiftPM's own to .build*/.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DESTDIR ?=
# What swift test is to run (a regular expression); empty: everything.
FILTER ?=
# ... and what to leave out.
SKIP ?=
# Words for bgbench.
ARGS ?=
# What `make profile` measures.
WORKLOAD ?= w1

SWIFT ?= $(shell command -v swift || echo /opt/swift/usr/bin/swift)
SWIFT_BIN := $(dir $(realpath $(SWIFT)))
# mkfs.btrfs and losetup live in sbin.
export PATH := $(PATH):$(patsubst %/,%,$(SWIFT_BIN)):/usr/sbin:/sbin

VERSION := $(shell awk '/define BG_VERSION_/ { v = v (v == "" ? "" : ".") $$3 } END { print v }' Include/blockgroups.h)
# The number in the soname: it changes when the ABI breaks, and the ABI only grows.
SOVERSION := 0
SONAME := libblockgroups.so.$(SOVERSION)

# What Swift's own tools want on Debian, then what we link, then what tests and `make run` use.
PACKAGES_BUILD := build-essential ca-certificates git libcurl4 libncurses6 libsqlite3-0 libxml2 \
	tzdata zlib1g-dev pkg-config liburcu-dev libisal-dev libxxhash-dev libsodium-dev \
	systemtap-sdt-dev libext2fs-dev btrfs-progs mount util-linux python3
PACKAGES_LINT := clang-format shellcheck
PACKAGES_MEASURE := linux-perf valgrind

EMBEDDED := .build-embedded
EMBEDDED_RELEASE = $(EMBEDDED)/release
# initial-exec: RCU's thread-local data is then one add away, not a call of __tls_get_addr().
# No dead stripping by SwiftPM: its linker (gold) fails on the notes of probes in sections it drops.
# The library itself is linked below by GNU ld, which keeps notes and drops sections rightly.
# No frame pointers: the paths that every claim takes want the register.
EMBEDDED_FLAGS := -c release --product blockgroups --scratch-path $(EMBEDDED) \
	--disable-dead-strip --omit-frame-pointers \
	-Xswiftc -enable-experimental-feature -Xswiftc Embedded -Xswiftc -wmo \
	-Xcc -ftls-model=initial-exec \
	-Xlinker --version-script=$(CURDIR)/Sources/BGCInterface/blockgroups.map \
	-Xlinker -lm
EMBEDDED_OBJECTS = $$(cat $(EMBEDDED_RELEASE)/blockgroups.product/Objects.LinkFileList)
SHARED_FLAGS := -shared -Wl,-soname,$(SONAME),-z,defs,--gc-sections,--as-needed \
	-Wl,--version-script=Sources/BGCInterface/blockgroups.map
LIBRARIES := -lurcu-bp -lurcu-common -lisal -lxxhash -lsodium -lm -lpthread

TEST_FLAGS = $(if $(FILTER),--filter '$(FILTER)') $(if $(SKIP),--skip '$(SKIP)')

.PHONY: help
help: ## This list.
	@echo "BlockGroups $(VERSION), with $$($(SWIFT) --version 2>&1 | grep -m1 -o 'Swift version [^ ]*' || echo 'no swift on PATH')"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# ---- set-up -------------------------------------------------------------------------------------

# $(call install,PACKAGES): installs those that are missing.
define install
	@if ! command -v dpkg-query >/dev/null; then \
		echo "setup: not a Debian system; the equivalents of these are needed: $(1)"; exit 0; \
	fi; \
	missing=(); \
	for package in $(1); do \
		[[ "$$(dpkg-query -W -f '$${db:Status-Status}' "$$package" 2>/dev/null)" == installed ]] \
			|| missing+=("$$package"); \
	done; \
	(( $${#missing[@]} )) || exit 0; \
	echo "setup: installing Debian packages that are missing: $${missing[*]}"; \
	root=(); \
	if (( EUID != 0 )); then \
		if ! command -v sudo >/dev/null; then \
			echo "setup: not root and no sudo; as root: apt-get install $${missing[*]}" >&2; exit 1; \
		fi; \
		root=(sudo); \
	fi; \
	if ! $${root[@]+"$${root[@]}"} apt-get update -qq || ! $${root[@]+"$${root[@]}"} \
		env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		"$${missing[@]}"; then \
		echo "setup: apt-get could not install: $${missing[*]}" >&2; exit 1; \
	fi
endef

.PHONY: setup setup-lint setup-measure
setup: ## Install the Debian packages that are missing (run and test do this themselves).
	$(call install,$(PACKAGES_BUILD))
	@$(SWIFT) --version >/dev/null 2>&1 || { \
		echo "setup: no working swift on PATH or in /opt/swift/usr/bin; Swift 6.3 is needed:" \
			"https://www.swift.org/install" >&2; exit 1; }

setup-lint: setup
	$(call install,$(PACKAGES_LINT))

setup-measure: setup
	$(call install,$(PACKAGES_MEASURE))

# ---- use and test -------------------------------------------------------------------------------

DEMO := build/demo

BGCTL := .build/release/bgctl

.PHONY: run
run: setup ## The whole job on an image file: format, put a tree from 4 threads, check, get, compare, map.
	$(SWIFT) build -c release --product bgctl
	@rm -rf $(DEMO) && mkdir -p $(DEMO)/tree
	@cp -r Sources Include CShim README.md $(DEMO)/tree/
	@for index in 1 2 3 4 5 6 7 8; do \
		head -c $$((index * 1500000)) /dev/zero | tr '\0' 'b' >$(DEMO)/tree/file$$index; done
	@ln $(DEMO)/tree/file1 $(DEMO)/tree/file1.hard && ln -s file2 $(DEMO)/tree/file2.link
	@truncate -s 40M $(DEMO)/tree/file3.holes
	$(BGCTL) mkfs --size 1G --label demo $(DEMO)/image
	$(BGCTL) put --threads 4 $(DEMO)/image $(DEMO)/tree /tree
	$(BGCTL) info $(DEMO)/image
	$(BGCTL) groups $(DEMO)/image
	$(BGCTL) check --data $(DEMO)/image
	$(BGCTL) get $(DEMO)/image /tree $(DEMO)/back
	diff -r --no-dereference $(DEMO)/tree $(DEMO)/back
	@rm -rf $(DEMO)/tree $(DEMO)/back
	$(BGCTL) map $(DEMO)/image
	$(BGCTL) map --output $(DEMO)/map.svg $(DEMO)/image
	$(BGCTL) claim --threads 4 $(DEMO)/image
	@test -s $(DEMO)/map.svg || { echo "run: bgctl map wrote no $(DEMO)/map.svg" >&2; exit 1; }
	@echo "kept: $(DEMO)/image $(DEMO)/map.svg"

.PHONY: test
test: setup ## All tests; those that need root or loop mounts are skipped, with a word, without them.
	$(SWIFT) test $(TEST_FLAGS)

.PHONY: referee
referee: setup ## Every image of the referee (make test tries the short list).
	$(SWIFT) build --product bgctl
	Tests/Referee/referee.py --bgctl .build/debug/bgctl $(ARGS)

.PHONY: judge
judge: setup ## Faults that the judge must find; then all it judges of ours (make test tries a few).
	$(SWIFT) build --product bgctl
	Tests/Judge/self-test --bgctl $(CURDIR)/.build/debug/bgctl
	Tests/Judge/matrix --bgctl $(CURDIR)/.build/debug/bgctl --make bgctl $(ARGS)
	Tests/Judge/matrix --bgctl $(CURDIR)/.build/debug/bgctl --make bgctl --fill $(ARGS)
	Tests/Judge/matrix --bgctl $(CURDIR)/.build/debug/bgctl --age snapshots --write put --to /put \
		--judge=--balance $(ARGS)

.PHONY: tsan asan
tsan: setup ## Tests under ThreadSanitizer (FILTER=, SKIP=: regexes).
	$(SWIFT) test --sanitize=thread --disable-xctest --scratch-path .build-tsan \
		-Xcc -DBGS_TSAN=1 $(TEST_FLAGS)

# XCTest's own leaks would fail the run, so only Swift Testing is loaded.
asan: setup ## Tests under AddressSanitizer (FILTER=, SKIP=: regexes).
	LSAN_OPTIONS=suppressions=$(CURDIR)/.ci/lsan.supp:print_suppressions=0 \
		$(SWIFT) test --sanitize=address --disable-xctest --scratch-path .build-asan $(TEST_FLAGS)

# ---- the C library ------------------------------------------------------------------------------

.PHONY: lib
lib: setup ## libblockgroups.so and .a for C, without a Swift runtime, in build/lib.
	$(SWIFT) build $(EMBEDDED_FLAGS)
	@mkdir -p build/lib
	@# The archive is one object in which nothing but bg_* is global: the rest of the library, and
	@# the pieces of Embedded Swift, cannot clash with a program's own. Dissolving the groups keeps
	@# a linker from dropping one of them for another archive's of the same name.
	ld -r --force-group-allocation -o build/lib/blockgroups.o \
		$(EMBEDDED_OBJECTS)
	objcopy --wildcard --keep-global-symbol='bg_*' --remove-section=.swift1_autolink_entries \
		--remove-section=.llvm_addrsig build/lib/blockgroups.o
	@rm -f build/lib/libblockgroups.*
	ar rcs build/lib/libblockgroups.a build/lib/blockgroups.o
	@# SwiftPM linked a library too, but wrote a run path into it that an installed one must not have.
	gcc $(SHARED_FLAGS) -o build/lib/libblockgroups.so.$(VERSION) $(EMBEDDED_OBJECTS) $(LIBRARIES)
	@ln -s libblockgroups.so.$(VERSION) build/lib/$(SONAME)
	@ln -s $(SONAME) build/lib/libblockgroups.so

.PHONY: install
install: lib ## Header, libraries and blockgroups.pc to PREFIX (/usr/local), under DESTDIR.
	install -d $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(LIBDIR)/pkgconfig
	install -m 644 Include/blockgroups.h $(DESTDIR)$(INCLUDEDIR)/
	install -m 755 build/lib/libblockgroups.so.$(VERSION) $(DESTDIR)$(LIBDIR)/
	ln -sf libblockgroups.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libblockgroups.so
	install -m 644 build/lib/libblockgroups.a $(DESTDIR)$(LIBDIR)/
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
		-e 's|@VERSION@|$(VERSION)|' Sources/BGCInterface/blockgroups.pc.in \
		>$(DESTDIR)$(LIBDIR)/pkgconfig/blockgroups.pc
	@if [[ -z '$(DESTDIR)' && $$EUID == 0 ]]; then ldconfig; fi

STAGE := $(CURDIR)/build/stage

.PHONY: stage
stage:
	@rm -rf $(STAGE)
	@$(MAKE) --no-print-directory install PREFIX=$(STAGE) DESTDIR= LIBDIR=$(STAGE)/lib \
		INCLUDEDIR=$(STAGE)/include

.PHONY: check-lib
check-lib: stage ## The C library's symbols and dependencies, and C and C++ programs linked both ways.
	Tests/CInterfaceTests/C/check-lib $(STAGE) $(SONAME)

.PHONY: examples
examples: stage ## Compile and run the examples in README.md.
	Tests/Referee/readme-examples $(STAGE)

# ---- measuring ----------------------------------------------------------------------------------

# With words for bgbench, that alone; with "put" and words for Sources/bgbench/put, that alone.
BENCH_PUT := $(filter put,$(firstword $(ARGS)))

.PHONY: bench
bench: $(if $(BENCH_PUT),setup,lib) ## Everything against its controls; ARGS='w1', or ARGS='put --rounds 9', a part of it.
ifeq ($(BENCH_PUT),)
	$(SWIFT) build -c release --product bgbench
	.build/release/bgbench $(or $(ARGS),all) --library $(CURDIR)/build/lib/libblockgroups.so
endif
ifneq ($(if $(ARGS),$(BENCH_PUT),put),)
	$(SWIFT) build -c release --product bgctl
	@mkdir -p build
	Sources/bgbench/put .build/release/bgctl --folder build $(wordlist 2,$(words $(ARGS)),$(ARGS))
endif

.PHONY: profile
profile: setup-measure ## perf and a flame graph of one workload (WORKLOAD=w1) in build/profile.
	$(SWIFT) build -c release --product bgbench -Xswiftc -g -Xcc -fno-omit-frame-pointer
	@mkdir -p build/profile
	perf record -q -e cpu-clock -F 999 --call-graph fp -o build/profile/perf.data -- \
		.build/release/bgbench $(WORKLOAD) $(ARGS)
	perf report -i build/profile/perf.data --stdio --no-children -g none | \
		$(SWIFT) demangle --simplified >build/profile/report.txt
	perf script -i build/profile/perf.data | .ci/flamegraph >build/profile/flame.svg
	@grep -v '^#' build/profile/report.txt | grep -v '^$$' | head -20
	@echo "kept: build/profile/report.txt build/profile/flame.svg build/profile/perf.data"

.PHONY: count
count: setup-measure lib ## Instructions an operation, by callgrind, against the committed figures.
	$(SWIFT) build -c release --product bgbench
	Sources/bgbench/count .build/release/bgbench build/lib/libblockgroups.so $(ARGS)

# ---- the code itself ----------------------------------------------------------------------------

.PHONY: lint
lint: setup-lint ## Formatting, headers that stand alone, shell scripts.
	.ci/lint

.PHONY: format
format: setup-lint ## Format Swift and C in place.
	$(SWIFT) format -i -r Sources Tests Package.swift
	find CShim Include Sources/BenchControls Tests -name '*.[ch]' -o -name '*.cc' | xargs clang-format -i

.PHONY: clean
clean: ## Remove everything that was built.
	rm -rf build .build .build-embedded .build-tsan .build-asan
