"""sorus codegen --package: libraries of Arduino and modules of Zephyr, well-formed for those tools.

Neither tool is needed: the rules of their formats are checked, Zephyr's build files run with CMake against functions of the same
names, and the examples are compiled for this machine against headers that declare what they call.
"""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess

import pytest
from sorus.cli import main
from test_quantization import small_net

import sorus
from sorus import codegen, nn, quantization


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    net, x = small_net()
    path = tmp_path_factory.mktemp("model") / "tiny.tflite"
    quantization.quantize(net, [x]).save(path)
    return path


def tool(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"not installed: {name}")


def properties(folder: pathlib.Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (folder / "library.properties").read_text().splitlines())


def test_arduino_library(model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """As https://arduino.github.io/arduino-cli/latest/library-specification says of format 1.5."""
    codegen.generate(model, "cortex-m4", "tiny_net", tmp_path, package="arduino")
    p = properties(tmp_path)
    required = {
        "name",
        "version",
        "author",
        "maintainer",
        "sentence",
        "paragraph",
        "category",
        "url",
        "architectures",
    }
    assert required <= set(p) and p["includes"] == "tiny_net.h" and p["architectures"] == "*"
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}", p["name"]) and re.fullmatch(
        r"\d+\.\d+\.\d+", p["version"]
    )
    assert p["category"] == "Data Processing"  # one of the nine that there are
    # The recursive layout: all sources below src/; a sketch has the name of its folder.
    assert {f.name for f in (tmp_path / "src").iterdir()} == {"tiny_net.h", "tiny_net.c", "tiny_net_data.h"}
    sketches = list((tmp_path / "examples").rglob("*.ino"))
    assert [(s.parent.name, s.stem) for s in sketches] == [("tiny_net_run", "tiny_net_run")]
    assert not any((tmp_path / name).exists() for name in ("Makefile", "CMakeLists.txt", "include", "utility"))
    assert (tmp_path / "extras" / "report.html").exists()
    for line in (tmp_path / "keywords.txt").read_text().splitlines():
        assert re.fullmatch(r"\w+\t(KEYWORD[123]|LITERAL1)", line)


ARDUINO = """
#include <cstdio>
struct Port { void begin(long) {} template <class T> void print(T v) { std::printf("%d ", (int)v); }
  void print(char) { std::printf(" "); } void print(const char *s) { std::printf("%s", s); } void println() { std::printf("\\n"); }
  template <class T> void println(T v) { print(v); println(); } } Serial;
inline void delay(unsigned long) {}
"""


def test_the_sketch_runs(model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    compiler = tool("g++")
    codegen.generate(model, "c", "tiny", tmp_path / "lib", package="arduino")
    sketch = next((tmp_path / "lib" / "examples").rglob("*.ino")).read_text()
    source = tmp_path / "sketch.cpp"
    source.write_text(ARDUINO + sketch + "\nint main() { setup(); loop(); }\n")
    flags = ["-I", str(tmp_path / "lib" / "src"), "-Wall", "-Wextra", "-Werror"]
    subprocess.run(
        ["gcc", *flags, "-c", str(tmp_path / "lib" / "src" / "tiny.c"), "-o", str(tmp_path / "tiny.o")], check=True
    )
    subprocess.run(
        [compiler, *flags, str(source), str(tmp_path / "tiny.o"), "-o", str(tmp_path / "sketch")], check=True
    )
    printed = subprocess.run([tmp_path / "sketch"], check=True, capture_output=True, text=True).stdout.split()
    zeros = sorus.load_model(model)(sorus.zeros(1, 16, 16, 3, dtype=sorus.int8))
    assert [int(v) for v in printed] == zeros.numpy().ravel().tolist()  # the arena was zero


def test_a_library_can_be_verified(
    model: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    command = [
        "codegen",
        str(model),
        "--target",
        "c",
        "--name",
        "tiny",
        "--out",
        str(tmp_path),
        "--package",
        "arduino",
    ]
    assert main([*command, "--verify", "--runs", "2"]) == 0
    assert "2 of 2" in capsys.readouterr().out


ZEPHYR = """
function(zephyr_library_named name)
  set(ZEPHYR_CURRENT_LIBRARY ${name} PARENT_SCOPE)
  add_library(${name} STATIC)
  target_link_libraries(app PRIVATE ${name})
endfunction()
function(zephyr_library_sources)
  target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()
function(zephyr_library_compile_options)
  target_compile_options(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()
function(zephyr_include_directories)
  foreach(folder ${ARGN})
    target_include_directories(zephyr_interface INTERFACE ${CMAKE_CURRENT_SOURCE_DIR}/${folder})
  endforeach()
endfunction()
enable_language(C)
file(WRITE ${CMAKE_BINARY_DIR}/empty.c "")
add_library(zephyr_interface INTERFACE)
add_executable(app ${CMAKE_BINARY_DIR}/empty.c)
target_include_directories(app PRIVATE ${Zephyr_DIR}/include)
target_link_libraries(app PRIVATE zephyr_interface)
link_libraries(zephyr_interface)
file(STRINGS ${CMAKE_CURRENT_SOURCE_DIR}/prj.conf settings)
foreach(setting ${settings})
  string(REGEX MATCH "^(CONFIG_[A-Z0-9_]+)=(.*)$" found ${setting})
  set(${CMAKE_MATCH_1} ${CMAKE_MATCH_2})
endforeach()
foreach(module ${ZEPHYR_EXTRA_MODULES})
  file(STRINGS ${module}/zephyr/module.yml build REGEX "cmake: \\\\.")
  if(build)
    add_subdirectory(${module} ${CMAKE_BINARY_DIR}/module)
  endif()
endforeach()
"""


def test_zephyr_module(model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The sample builds and runs with stand-ins for Zephyr's CMake functions and two headers."""
    cmake, module = tool("cmake"), tmp_path / "tiny"
    codegen.generate(model, "c", "tiny", module, package="zephyr")
    assert (
        (module / "zephyr" / "module.yml")
        .read_text()
        .startswith("name: tiny\nbuild:\n  cmake: .\n  kconfig: Kconfig\n")
    )
    zephyr = tmp_path / "stand_in"
    (zephyr / "include" / "zephyr" / "sys").mkdir(parents=True)
    (zephyr / "ZephyrConfig.cmake").write_text(ZEPHYR)
    (zephyr / "include" / "zephyr" / "kernel.h").write_text(
        "#include <stdlib.h>\n#define K_MSEC(n) n\n#define k_sleep(n) exit(0)\n"
    )
    (zephyr / "include" / "zephyr" / "sys" / "printk.h").write_text("#include <stdio.h>\n#define printk printf\n")
    sample = module / "samples" / "tiny_run"
    subprocess.run(
        [cmake, "-S", str(sample), "-B", str(tmp_path / "b"), f"-DZephyr_DIR={zephyr}"],
        check=True,
        capture_output=True,
    )
    subprocess.run([cmake, "--build", str(tmp_path / "b")], check=True, capture_output=True)
    printed = subprocess.run([tmp_path / "b" / "app"], check=True, capture_output=True, text=True).stdout
    zeros = sorus.load_model(model)(sorus.zeros(1, 16, 16, 3, dtype=sorus.int8)).numpy().ravel()
    assert printed == f"error 0, result {zeros[0]}\n"


def test_kconfig_says_which_core(model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    for target, depends in (("c", False), ("cortex-m3", False), ("cortex-m4", True), ("cortex-m55", True)):
        folder = tmp_path / target
        codegen.generate(model, target, "tiny", folder, package="zephyr")
        lines = (folder / "Kconfig").read_text().splitlines()
        assert lines[0] == "config SORUS_TINY" and lines[1].startswith('  bool "')
        assert (f"  depends on CPU_{target.upper().replace('-', '_')}" in lines) == depends
        assert "  help" in lines and all(line.startswith("  ") for line in lines[1:])
        assert "CONFIG_SORUS_TINY=y" in (folder / "samples" / "tiny_run" / "prj.conf").read_text()


def test_a_state_is_reset_first(tmp_path: pathlib.Path) -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", sorus.zeros(1, 4))

        def forward(self, x: sorus.Tensor) -> sorus.Tensor:
            self.total.add_(x)
            return self.total * 1.0

    for kind, file in (("arduino", "examples/sum_run/sum_run.ino"), ("zephyr", "samples/sum_run/src/main.c")):
        codegen.generate(Sum(), "c", "sum", tmp_path / kind, example=sorus.zeros(1, 4), package=kind)
        assert "  sum_reset(arena);\n" in (tmp_path / kind / file).read_text()


def test_mistakes(model: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="arduino, zephyr, found 'mbed'"):
        codegen.generate(model, "c", "tiny", tmp_path, package="mbed")
    with pytest.raises(ValueError, match=r"without an operating system for zephyr \(c, cortex-m0.*found x86"):
        codegen.generate(model, "x86", "tiny", tmp_path, package="zephyr")
    with pytest.raises(ValueError, match="begins with a letter, found '_tiny'"):
        codegen.generate(model, "c", "_tiny", tmp_path, package="arduino")
    assert not list(tmp_path.iterdir())
