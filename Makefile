# `make demo` and `make test` do all the set-up on a fresh machine, then run.

PYTHON ?= python3
VENV ?= .venv
OUT ?= out/demo
BIN := $(VENV)/bin

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	$(BIN)/python -m sargan_training.demo $(OUT)/photos
	$(BIN)/sargan-cli edit-dir $(OUT)/photos \
		$(OUT)/edited --overwrite --compare $(OUT)/contact_sheet.png \
		--expr happy --expr surprised --expr angry --expr sad
	@echo
	@echo "Look at $(OUT)/contact_sheet.png, and at the photos in $(OUT)/edited at full size."

# One thread each: more threads than cores would spend their time waiting for one another.
test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev,demo]"
	touch $@

clean:
	rm -rf $(VENV) build dist out *.egg-info
