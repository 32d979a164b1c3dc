"""Headers and library of the TensorFlow that is installed for a Python interpreter."""

_FIND = """
import importlib.util, pathlib
print(pathlib.Path(importlib.util.find_spec("tensorflow").origin).parent, end="")
"""

_BUILD = """
package(default_visibility = ["//visibility:public"])

cc_library(
    name = "headers",
    hdrs = glob(["include/**/*"]),
    defines = ["_GLIBCXX_USE_CXX11_ABI=1", "EIGEN_MAX_ALIGN_BYTES=64"],
    includes = ["include"],
)

cc_library(
    name = "tensorflow",
    srcs = ["libtensorflow_framework.so.2"],
    deps = [":headers"],
)
"""

def _tensorflow(context):
    python = context.os.environ.get("PYTHON_BIN_PATH") or context.which("python3")
    found = context.execute([python, "-c", _FIND])
    if found.return_code:
        fail("%s has no TensorFlow; set PYTHON_BIN_PATH to an interpreter that has:\n%s" % (python, found.stderr))
    folder = found.stdout
    context.symlink(folder + "/include", "include")
    context.symlink(folder + "/libtensorflow_framework.so.2", "libtensorflow_framework.so.2")
    context.file("BUILD", _BUILD)

tensorflow_repository = repository_rule(
    implementation = _tensorflow,
    environ = ["PYTHON_BIN_PATH"],
    local = True,
)
