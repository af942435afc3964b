"""The generated C as a library of Arduino or a module of Zephyr: the same sources in the folders that those tools expect.

    NAME/library.properties  src/NAME.h NAME.c NAME_data.h  examples/NAME_run/NAME_run.ino          (Arduino library, format 1.5)
    NAME/zephyr/module.yml  CMakeLists.txt  Kconfig  include/  src/  samples/NAME_run/              (Zephyr module)

Reports go to `extras/`, which Arduino leaves alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .._core import _device

PACKAGES = ("arduino", "zephyr")


def package(kind: str, files: Mapping[str, str], target: str, name: str) -> dict[str, str]:
    """The files of the package, by path, from those of `generate`.

    ValueError for another kind, for a target with an operating system, and for a name that the tool does not take.
    """
    if kind not in PACKAGES:
        raise ValueError(f"codegen: expected package to be one of {', '.join(PACKAGES)}, found '{kind}'")
    found = next(t for t in _device.targets() if t["name"] == target)
    if target != "c" and not found["machine"]:
        fitting = ", ".join(t["name"] for t in _device.targets() if t["machine"] or t["name"] == "c")
        raise ValueError(
            f"codegen: expected a target without an operating system for {kind} ({fitting}), found {target}"
        )
    if len(name) > 63 or not name[0].isalpha():
        raise ValueError(
            f"codegen: expected a name of at most 63 characters that begins with a letter, found '{name}'"
        )
    return (_arduino if kind == "arduino" else _zephyr)(files, found, name)


def _extras(files: Mapping[str, str]) -> dict[str, str]:
    return {f"extras/{path}": text for path, text in files.items() if path.startswith("report.")}


def _processor(target: Mapping[str, str]) -> str:
    return "any processor" if target["name"] == "c" else target["description"]


def _run(name: str, files: Mapping[str, str], indent: str) -> str:
    """Statements that run the model once: inputs and outputs lie in the arena."""
    up = name.upper()
    header = files[f"include/{name}.h"]

    def pointers(kind: str) -> str:
        count = int(re.findall(rf"#define {up}_NUM_{kind}S (\d+)", header)[0])
        return ", ".join(f"arena + {up}_{kind}{i}_OFFSET" for i in range(count))

    lines = [
        f"const void *const inputs[{up}_NUM_INPUTS] = {{{pointers('INPUT')}}};",
        f"void *const outputs[{up}_NUM_OUTPUTS] = {{{pointers('OUTPUT')}}};",
        f"int error = {name}_run(arena, inputs, outputs);",
    ]
    return "\n".join(indent + line for line in lines)


def _reset(name: str, files: Mapping[str, str]) -> str:
    return f"  {name}_reset(arena);\n" if f"{name}_reset" in files[f"include/{name}.h"] else ""


def _arduino(files: Mapping[str, str], target: Mapping[str, str], name: str) -> dict[str, str]:
    up = name.upper()
    properties = {
        "name": name,
        "version": "1.0.0",
        "author": "sorus codegen",
        "maintainer": "sorus codegen",
        "sentence": f"The model {name} as C, for {_processor(target)}.",
        "paragraph": "One function, no allocation: all memory is one arena of the caller.",
        "category": "Data Processing",
        "url": "",
        "architectures": "*",
        "includes": f"{name}.h",
    }
    sketch = f"""// Runs {name} every second, on whatever lies in its input, and prints the first bytes of the result.
#include <{name}.h>

static unsigned char arena[{up}_ARENA_BYTES] __attribute__((aligned(16)));

void setup() {{
  Serial.begin(115200);
{_reset(name, files)}}}

void loop() {{
  // Write the input to arena + {up}_INPUT0_OFFSET here: {up}_INPUT0_BYTES bytes, of {up}_INPUT0_TYPE.
{_run(name, files, "  ")}
  if (error != {up}_OK) {{
    Serial.print("error ");
    Serial.println(error);
  }} else {{
    const {up}_OUTPUT0_TYPE *result = ({up}_OUTPUT0_TYPE *)outputs[0];
    for (unsigned i = 0; i < {up}_OUTPUT0_BYTES / sizeof *result && i < 16; i++) {{
      Serial.print(result[i]);
      Serial.print(' ');
    }}
    Serial.println();
  }}
  delay(1000);
}}
"""
    sources = {path: text for path, text in files.items() if path.startswith("src/")}
    return {
        "library.properties": "".join(f"{key}={value}\n" for key, value in properties.items()),
        "keywords.txt": f"{name}_run\tKEYWORD2\n{name}_run_in\tKEYWORD2\n{up}_ARENA_BYTES\tLITERAL1\n",
        f"src/{name}.h": files[f"include/{name}.h"],
        **sources,
        f"examples/{name}_run/{name}_run.ino": sketch,
        **_extras(files),
    }


def _zephyr(files: Mapping[str, str], target: Mapping[str, str], name: str) -> dict[str, str]:
    up = name.upper()
    # Cores whose instructions the kernels use; plain C runs on all.
    special = target["name"].startswith("cortex-m") and target["name"] not in ("cortex-m0", "cortex-m3")
    depends = f"  depends on CPU_{target['name'].upper().replace('-', '_')}\n" if special else ""
    main = f"""/* Runs {name} every second, on whatever lies in its input, and prints the first byte of the result. */
#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>

#include "{name}.h"

static unsigned char arena[{up}_ARENA_BYTES] __attribute__((aligned(16)));

int main(void)
{{
{_reset(name, files)}  for (;;) {{
    /* Write the input to arena + {up}_INPUT0_OFFSET here: {up}_INPUT0_BYTES bytes, of {up}_INPUT0_TYPE. */
{_run(name, files, "    ")}
    printk("error %d, result %d\\n", error, *(const signed char *)outputs[0]);
    k_sleep(K_MSEC(1000));
  }}
}}
"""
    return {
        "zephyr/module.yml": f"name: {name}\nbuild:\n  cmake: .\n  kconfig: Kconfig\nsamples:\n  - samples\n",
        "CMakeLists.txt": f"""# Part of a Zephyr build where CONFIG_SORUS_{up} is set.
if(CONFIG_SORUS_{up})
  zephyr_library_named({name})
  zephyr_library_sources(src/{name}.c)
  zephyr_library_compile_options(-O2)
  zephyr_include_directories(include)
endif()
""",
        "Kconfig": f"""config SORUS_{up}
  bool "The model {name} as C"
{depends}  help
    Written by sorus codegen for {_processor(target)}. All memory is one arena of the caller: {up}_ARENA_BYTES in {name}.h.
""",
        f"include/{name}.h": files[f"include/{name}.h"],
        **{path: text for path, text in files.items() if path.startswith("src/")},
        f"samples/{name}_run/CMakeLists.txt": f"""cmake_minimum_required(VERSION 3.20.0)

list(APPEND ZEPHYR_EXTRA_MODULES ${{CMAKE_CURRENT_SOURCE_DIR}}/../..)
find_package(Zephyr REQUIRED HINTS $ENV{{ZEPHYR_BASE}})
project({name}_run C)

target_sources(app PRIVATE src/main.c)
""",
        f"samples/{name}_run/prj.conf": f"CONFIG_SORUS_{up}=y\nCONFIG_PRINTK=y\nCONFIG_MAIN_STACK_SIZE=4096\n",
        f"samples/{name}_run/sample.yaml": f"sample:\n  name: {name}\ntests:\n  sorus.{name}:\n    build_only: true\n",
        f"samples/{name}_run/src/main.c": main,
        **_extras(files),
    }
