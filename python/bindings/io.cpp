// Files of tensors: safetensors, npy, idx, checkpoints. What a value of sorus.save looks like is in
// python/sorus/serialization.py; here are only tensors and text.
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bind.h"
#include "sorus/base/files.h"
#include "sorus/io/checkpoint.h"
#include "sorus/io/idx.h"
#include "sorus/io/npy.h"

namespace sorus::python {
namespace {

namespace fs = std::filesystem;

io::TensorMap map_from(const nb::dict& tensors, const char* what) {
  io::TensorMap map;
  for (auto [name, t] : tensors) {
    SORUS_CHECK(PyUnicode_Check(name.ptr()), TypeError, "{}: names are str, found {}", what,
                Py_TYPE(name.ptr())->tp_name);
    SORUS_CHECK(is_tensor(t.ptr()), TypeError, "{}: {} is not a tensor but {}", what, nb::cast<std::string>(name),
                Py_TYPE(t.ptr())->tp_name);
    map.emplace(nb::cast<std::string>(name), tensor_in(t.ptr()).detach());
  }
  return map;
}
nb::dict dict_from(const io::TensorMap& map) {
  nb::dict d;
  for (auto& [name, t] : map) d[name.c_str()] = wrap(t);
  return d;
}
io::Checkpoint checkpoint_from(const nb::dict& tensors, const std::string& state) {
  return {map_from(tensors, "save"), io::parse_json(state, "the state")};
}

const Part part{
    20, [](nb::module_& root) {
      nb::module_ m = root.def_submodule("_io");
      m.def(
          "load_file", [](const fs::path& path) { return dict_from(io::load_safetensors(path)); },
          nb::arg("filename"));
      m.def(
          "save_file",
          [](const nb::dict& tensors, const fs::path& path, std::optional<io::Metadata> metadata) {
            io::TensorMap map = map_from(tensors, "save_file");
            nb::gil_scoped_release release;
            io::save_safetensors(path, map, metadata.value_or(io::Metadata{}));
          },
          nb::arg("tensors"), nb::arg("filename"), nb::arg("metadata") = nb::none());
      nb::class_<io::SafetensorsFile>(m, "SafetensorsFile")
          .def(
              "__init__",
              [](io::SafetensorsFile* self, const fs::path& path) {
                new (self) io::SafetensorsFile(io::SafetensorsFile::open(path));
              },
              nb::arg("filename"))
          .def("keys",
               [](const io::SafetensorsFile& f) {
                 nb::list names;
                 for (auto& [name, entry] : f.entries()) names.append(nb::str(name.c_str(), name.size()));
                 return names;
               })
          .def("metadata", &io::SafetensorsFile::metadata)
          .def("get_tensor", &io::SafetensorsFile::tensor, nb::arg("name"));
      m.def("load_npy", &io::load_npy, nb::arg("path"));
      m.def(
          "save_npy", [](const fs::path& path, const Tensor& t) { io::save_npy(path, t.detach()); }, nb::arg("path"),
          nb::arg("tensor"));
      m.def("load_idx", &io::load_idx, nb::arg("path"));
      m.def(
          "write_file",
          [](const fs::path& path, const nb::object& content) {
            std::string text = nb::isinstance<nb::bytes>(content)
                                   ? std::string(nb::cast<nb::bytes>(content).c_str(), nb::len(content))
                                   : nb::cast<std::string>(content);
            nb::gil_scoped_release release;
            write_file(path, text);
          },
          nb::arg("path"), nb::arg("content"));

      m.def("save_checkpoint", [](const fs::path& path, const nb::dict& tensors, const std::string& state) {
        io::Checkpoint checkpoint = checkpoint_from(tensors, state);
        nb::gil_scoped_release release;
        io::save_checkpoint(path, checkpoint);
      });
      m.def("load_checkpoint", [](const fs::path& path) {
        io::Checkpoint c = io::load_checkpoint(path);
        return nb::make_tuple(dict_from(c.tensors), c.state.dump());
      });
      nb::class_<io::CheckpointFolder>(m, "CheckpointFolder")
          .def(nb::init<fs::path, int64_t>(), nb::arg("folder"), nb::arg("keep") = 3)
          .def("save",
               [](const io::CheckpointFolder& f, int64_t step, const nb::dict& tensors, const std::string& state) {
                 io::Checkpoint checkpoint = checkpoint_from(tensors, state);
                 nb::gil_scoped_release release;
                 return f.save(step, checkpoint);
               })
          .def("list", &io::CheckpointFolder::list)
          .def("latest", [](const io::CheckpointFolder& f) {
            std::vector<std::string> problems;
            auto path = f.latest(&problems);
            return std::pair(path, problems);
          });
      m.def("describe_mismatch", [](const nb::dict& expected, const nb::dict& found) {
        return io::describe_mismatch(map_from(expected, "expected"), map_from(found, "found"));
      });
    }};

}  // namespace
}  // namespace sorus::python
