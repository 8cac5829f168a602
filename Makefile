# `make demo` and `make test` do all the set-up on a fresh machine, then run.

PYTHON ?= python3
VENV ?= .venv
OUT ?= out/demo
BIN := $(VENV)/bin
# Until a detector of our own is bundled: yours, or the one beside the checkout.
DETECTOR := $(or $(SARGAN_DETECTOR),$(wildcard ../shared/models/scrfd_2.5g.onnx))

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	$(BIN)/python -m sargan_training.demo $(OUT)/photos
	$(if $(DETECTOR),SARGAN_DETECTOR="$(DETECTOR)") $(BIN)/sargan-cli edit-dir $(OUT)/photos \
		$(OUT)/edited --overwrite --compare $(OUT)/contact_sheet.png \
		--expr happy --expr surprised --expr angry --expr sad
	@echo
	@echo "Look at $(OUT)/contact_sheet.png, and at the photos in $(OUT)/edited at full size."

test: $(VENV)/.installed
	$(BIN)/python -m pytest

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
