# `make` lists what there is. Everything runs in .venv, which `make` itself sets up from requirements.lock.

# The Python that .venv is made with; any from 3.11 on. If this one is too old, a newer one on PATH is used.
PYTHON ?= python3
# The course that `make instructor` opens: grader, or _build/sample.
COURSE := grader
# Where `make serve` puts the website, on this machine only.
PORT ?= 8000
# For example --no-browser, or --ServerApp.port=9999.
LAB_FLAGS ?=

PY := .venv/bin/python
ENV := .venv/.ready
DONE := _build/done
SAMPLE := _build/sample
# Made with the book; what `check` says in a notebook links to it.
MISTAKES := book/guides/mistakes

# What is set in your shell for other projects must not reach this one; without bytecode every kernel starts slowly.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

.PHONY: help course test env book release sample autograde feedback export
.PHONY: lab instructor serve refresh bench attacks kills fuzz lock clean distclean FORCE
.DELETE_ON_ERROR:
# One step after the other: the steps use all cores themselves, and their lines do not mix.
.NOTPARALLEL:

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# ---- The two that matter ---------------------------------------------------------------------------------------

course: book sample  ## environment, website, exercises, a graded sample class: everything, from nothing
	@$(PY) -m grader --course $(SAMPLE) status
	@echo
	@echo "Made:  the website       _build/html/index.html   read it:    make serve"
	@echo "       the exercises     exercises/               do them:    make lab   (in copies, in work/)"
	@echo "       a sample class    $(SAMPLE)/marks.csv  look at it: make instructor COURSE=$(SAMPLE)"
	@echo "       its feedback      $(SAMPLE)/feedback/"
	@echo "       your own course   grader/                  grade:      make instructor"
	@echo "Next:  make test checks all of it; make lists the rest."

# Notebooks are compared with their stored outputs, cell by cell. One worker must run a whole notebook: loadfile.
# Two workers with as many threads each as there are cores would mostly wait for one another. tests/conftest.py puts
# the files that take longest first.
test: env book  ## style, types, website, unit tests, every chapter's outputs, the site in a browser
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check --quiet . || { echo "test: these files are not formatted; run: $(PY) -m ruff format ." >&2; exit 1; }
	@$(PY) -m mypy
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --nbval --built \
		-p no:cacheprovider tests book/*.ipynb

# ---- Steps -----------------------------------------------------------------------------------------------------
# Each leaves an empty file in _build/done when it succeeded, and runs again when something that it reads changed.

env: $(ENV)  ## the virtual environment .venv with every package at its pinned version
book: $(DONE)/book  ## the website in _build/html, by running every chapter that changed
release: $(DONE)/release  ## exercises/ from solutions/
sample: $(DONE)/sample  ## a sample class, graded, in a course of its own: _build/sample
autograde: $(DONE)/autograde  ## marks for what your students have handed in
feedback: $(DONE)/feedback  ## a page of feedback for each of them
export: $(DONE)/export  ## their marks as grader/marks.csv

# Asked every time, because it answers at once if nothing changed; then the file keeps its date.
$(ENV): FORCE
	@command -v $(PYTHON) >/dev/null || { echo "environment: there is no $(PYTHON) here; Python 3.11 or newer \
	is needed (Debian, Ubuntu: apt-get install python3 python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m tools.environment

# What the steps read.
# Also the catalogues and what is released of them: the page of common mistakes is made from both.
book_reads := book _config.yml _toc.yml tools/book.py tools/notebooks.py solutions exercises
library_reads := d2lblocks
solutions_reads := solutions
exercises_reads := exercises
grader_reads := $(shell find grader -name "*.py" -not -path "grader/submitted/*" -not -path "grader/autograded/*")
submitted_reads := grader/submitted

# A list of checksums that is rewritten only when a file was changed, added or removed: dates alone would miss the last
# and would mistake a `git checkout` for a change. The find without files to read is not an error.
$(DONE)/%.reads: FORCE
	@mkdir -p $(DONE)
	@find $($*_reads) -type f ! -path '*/.*' ! -path '*/__pycache__/*' ! -path '$(MISTAKES)*' -exec cksum {} + 2>/dev/null \
		| LC_ALL=C sort -k 3 > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

# A result that somebody deleted is made again.
if_missing = $(if $(wildcard $(1)),,FORCE)

$(DONE)/book: $(ENV) $(DONE)/book.reads $(DONE)/library.reads $(call if_missing,_build/html/index.html)
	@$(PY) -m tools.book
	@touch $@

$(DONE)/release: $(ENV) $(DONE)/solutions.reads $(DONE)/grader.reads $(DONE)/library.reads $(call if_missing,exercises)
	@$(PY) -m grader release
	@touch $@

$(DONE)/sample: $(DONE)/release $(DONE)/exercises.reads $(call if_missing,$(SAMPLE)/marks.csv)
	@$(PY) -m grader sample --to $(SAMPLE)
	@$(PY) -m grader --course $(SAMPLE) autograde
	@$(PY) -m grader --course $(SAMPLE) feedback
	@$(PY) -m grader --course $(SAMPLE) export
	@touch $@

# Looked at only after the step that writes there.
$(DONE)/exercises.reads: $(DONE)/release

$(DONE)/autograde: $(DONE)/release $(DONE)/exercises.reads $(DONE)/submitted.reads $(call if_missing,grader/gradebook.db)
	@$(PY) -m grader autograde
	@touch $@

$(DONE)/feedback: $(DONE)/autograde $(call if_missing,grader/feedback)
	@$(PY) -m grader feedback
	@touch $@

$(DONE)/export: $(DONE)/feedback $(call if_missing,grader/marks.csv)
	@$(PY) -m grader export
	@touch $@

# ---- To work in ------------------------------------------------------------------------------------------------
# JupyterLab answers on this machine only. As root it wants to be told so.

LAB := -m jupyterlab --ServerApp.ip=127.0.0.1 $(if $(filter 0,$(shell id -u)),--allow-root)

# The assignment of the first chapter that has one.
chapters := $(shell sed -n 's,.*file: book/,,p' _toc.yml)
first_assignment := $(firstword $(foreach chapter,$(chapters),$(wildcard exercises/$(chapter)/*.ipynb)))

# A student works on copies: a new release must never touch what somebody has written. tools/lab/student hides what is
# not a student's, and the panels of nbgrader that are an instructor's.
lab: env  ## JupyterLab as a student sees it: the chapters in book/, your copies of the exercises in work/
	@test -e $(MISTAKES) || $(PY) -m grader mistakes >/dev/null
	@mkdir -p work
	@for given in exercises/*; do \
		test -e "work/$${given#exercises/}" || cp -R "$$given" work/; \
	done
	@JUPYTER_CONFIG_PATH=tools/lab/student $(PY) $(LAB) --ServerApp.root_dir='$(CURDIR)' \
		--LabApp.default_url=/lab/tree/$(first_assignment:exercises/%=work/%) \
		$(LAB_FLAGS)

# nbgrader looks for its settings in the folder it is started in.
instructor: env  ## JupyterLab with nbgrader's formgrader, on your course in grader/ (or COURSE=_build/sample)
	@cd '$(COURSE)' && JUPYTER_CONFIG_PATH='$(CURDIR)/tools/lab/instructor' '$(CURDIR)/$(PY)' $(LAB) \
		--ServerApp.root_dir='$(CURDIR)' --LabApp.default_url=/lab $(LAB_FLAGS)

serve: book  ## the website on http://127.0.0.1:8000 (another port: make serve PORT=8001)
	@$(PY) -c 'import socket; socket.create_server(("127.0.0.1", $(PORT)))' 2>/dev/null \
		|| { echo "serve: port $(PORT) cannot be used; try another: make serve PORT=8001" >&2; exit 1; }
	@echo "The website is on http://127.0.0.1:$(PORT)/ until you press Ctrl-C."
	@$(PY) -m http.server --bind 127.0.0.1 --directory _build/html $(PORT) >/dev/null 2>&1

# ---- To maintain -----------------------------------------------------------------------------------------------

refresh: env  ## run the chapters that changed and store their outputs in book/*.ipynb
	@$(PY) -m tools.notebooks

# Its figures are in the guide for instructors; nothing else should be running.
bench: env  ## the same submissions through plain nbgrader and through the engine; about twenty minutes
	@$(PY) -m tests.stress.bench

attacks: env  ## what nbgrader's own command does with hostile submissions: the table in the guide for instructors; half an hour
	@$(PY) -m tests.stress.attacks

# What the tests do a dozen times, as often as you like; about nine seconds each.
kills: env  ## kill a grading at 50 random moments (TIMES=50) and see that nothing is lost
	@$(PY) -m tests.stress.kills --times $(or $(TIMES),50) --log book/guides/_kills.log

fuzz: env  ## send the judge 100,000 hostile messages (MESSAGES=100000); about a quarter of an hour
	@$(PY) -m tests.stress.fuzz --messages $(or $(MESSAGES),100000) --log book/guides/_fuzz.log

lock:  ## requirements.lock from requirements.txt
	@$(PYTHON) -m tools.lock

CACHES := .pytest_cache .mypy_cache .ruff_cache .hypothesis build layers_and_blocks.egg-info

clean:  ## remove what was built and cached, and the sample class; not .venv, and nothing in grader/
	@echo "removing _build $(wildcard $(CACHES)) and Python's caches"
	@rm -rf _build $(CACHES) $(MISTAKES) $(MISTAKES).md
	@find . -name .venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +

distclean: clean  ## clean, and remove .venv too
	@echo "removing .venv"
	@rm -rf .venv
