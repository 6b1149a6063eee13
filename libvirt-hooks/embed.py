#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes a C++ header of a text: embed.py NAMESPACE NAME FILE HEADER."""
import sys
from pathlib import Path

namespace, name, source, target = sys.argv[1:]
text = Path(source).read_text(encoding="utf-8")
lines = "".join(f'    R"~({line}\n)~"\n' for line in text.splitlines())
Path(target).write_text(f"#pragma once\n\nnamespace {namespace} {{\n\ninline constexpr char {name}[] =\n{lines};\n\n}}\n", encoding="utf-8")
