// Datasets, the loader, tokenizers and corpora: the C++ classes of sorus::data. python/sorus/utils/data adds what
// only Python has: samples that are any object, and functions that make batches of them.
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <nanobind/trampoline.h>

#include "bind.h"
#include "sorus/data/corpus.h"
#include "sorus/data/images.h"
#include "sorus/data/loader.h"
#include "sorus/data/text.h"
#include "sorus/tensor/copy.h"

namespace sorus::python {
namespace {

namespace fs = std::filesystem;
using Paths = std::vector<fs::path>;

// ---- datasets

/// A class in Python with __len__ and __getitem__; C++ sees the tensors of its samples.
struct PythonDataset : data::Dataset {
  NB_TRAMPOLINE(data::Dataset, 2);
  int64_t size() const override {
    nb::gil_scoped_acquire gil;
    return static_cast<int64_t>(nb::len(nb_trampoline.base()));
  }
  TensorList get(int64_t index) const override {
    nb::gil_scoped_acquire gil;
    return unwrap_list(nb_trampoline.base()[nb::int_(index)], "Dataset: a sample");
  }
};

/// Whether samples can be read without Python.
bool is_native(const data::Dataset& d) {
  if (auto* subset = dynamic_cast<const data::Subset*>(&d)) return is_native(*subset->dataset());
  return !dynamic_cast<const PythonDataset*>(&d);
}

int64_t wrapped_index(const data::Dataset& d, int64_t index) {
  int64_t n = d.size(), i = index < 0 ? index + n : index;
  SORUS_CHECK(i >= 0 && i < n, IndexError, "dataset: sample {} of {}", index, n);
  return i;
}
nb::object sample_of(const data::Dataset& d, int64_t index) {
  return nb::tuple(wrap_list(d.get(wrapped_index(d, index))));
}
// A subset of a Python dataset has that one's samples, whatever they are.
nb::object sample_of_subset(const data::Subset& s, int64_t index) {
  if (is_native(s)) return sample_of(s, index);
  nb::object inner = nb::cast(std::const_pointer_cast<data::Dataset>(s.dataset()));
  return inner[nb::int_(s.indices()[static_cast<size_t>(wrapped_index(s, index))])];
}

data::Normalization normalization(std::optional<std::vector<double>> mean, std::optional<std::vector<double>> std) {
  return {mean.value_or(std::vector<double>{}), std.value_or(std::vector<double>{})};
}

const Part datasets{
    20, [](nb::module_& root) {
      nb::module_ m = root.def_submodule("_data");
      using data::Dataset;
      nb::class_<Dataset, PythonDataset>(m, "Dataset", nb::dynamic_attr(), nb::is_weak_referenceable())
          .def(nb::init<>())
          .def("__len__",
               [](const Dataset& d) {
                 if (dynamic_cast<const PythonDataset*>(&d))
                   fail<NotImplementedError>("Dataset: a subclass must define __len__");
                 return d.size();
               })
          .def("__getitem__", [](const Dataset& d, int64_t index) {
            if (dynamic_cast<const PythonDataset*>(&d))
              fail<NotImplementedError>("Dataset: a subclass must define __getitem__");
            return sample_of(d, index);
          });
      nb::class_<data::TensorDataset, Dataset>(m, "TensorDataset", nb::dynamic_attr())
          .def("__init__",
               [](data::TensorDataset* self, nb::args tensors) {
                 new (self) data::TensorDataset(unwrap_list(tensors, "TensorDataset"));
               })
          .def_prop_ro("tensors", [](const data::TensorDataset& d) { return nb::tuple(wrap_list(d.tensors())); });
      nb::class_<data::Subset, Dataset>(m, "Subset", nb::dynamic_attr())
          .def(
              "__init__",
              [](data::Subset* self, std::shared_ptr<Dataset> dataset, std::vector<int64_t> indices) {
                new (self) data::Subset(std::move(dataset), std::move(indices));
              },
              nb::arg("dataset"), nb::arg("indices"))
          .def("__getitem__", &sample_of_subset)
          .def_prop_ro("dataset", [](const data::Subset& s) { return std::const_pointer_cast<Dataset>(s.dataset()); })
          .def_prop_ro("indices", &data::Subset::indices);
      nb::class_<data::TextDataset, Dataset>(m, "TextDataset", nb::dynamic_attr())
          .def(nb::init<Tensor, int64_t, int64_t>(), nb::arg("tokens"), nb::arg("context"), nb::arg("stride") = 0)
          .def_prop_ro("tokens", [](const data::TextDataset& d) { return wrap(d.tokens()); })
          .def_prop_ro("context", &data::TextDataset::context);
      nb::class_<data::ImageDataset, Dataset>(m, "ImageDataset", nb::dynamic_attr())
          .def(
              "__init__",
              [](data::ImageDataset* self, Tensor images, Tensor labels, std::optional<std::vector<double>> mean,
                 std::optional<std::vector<double>> std) {
                new (self) data::ImageDataset(std::move(images), std::move(labels), normalization(mean, std));
              },
              nb::arg("images"), nb::arg("labels"), nb::arg("mean") = nb::none(), nb::arg("std") = nb::none())
          .def_prop_ro("images", [](const data::ImageDataset& d) { return wrap(d.images()); })
          .def_prop_ro("labels", [](const data::ImageDataset& d) { return wrap(d.labels()); });
      m.def(
          "MNIST",
          [](const fs::path& root_folder, bool train, std::optional<std::vector<double>> mean,
             std::optional<std::vector<double>> std) {
            return data::mnist(root_folder, train, normalization(mean, std));
          },
          nb::arg("root"), nb::arg("train") = true, nb::arg("mean") = nb::none(), nb::arg("std") = nb::none());
      m.def(
          "CIFAR10",
          [](const fs::path& root_folder, bool train, std::optional<std::vector<double>> mean,
             std::optional<std::vector<double>> std) {
            return data::cifar10(root_folder, train, normalization(mean, std));
          },
          nb::arg("root"), nb::arg("train") = true, nb::arg("mean") = nb::none(), nb::arg("std") = nb::none());
      m.def(
          "CIFAR100",
          [](const fs::path& root_folder, bool train, std::optional<std::vector<double>> mean,
             std::optional<std::vector<double>> std,
             bool coarse) { return data::cifar100(root_folder, train, normalization(mean, std), coarse); },
          nb::arg("root"), nb::arg("train") = true, nb::arg("mean") = nb::none(), nb::arg("std") = nb::none(),
          nb::arg("coarse") = false);
      m.def(
          "random_split",
          [](const std::shared_ptr<Dataset>& dataset, const std::vector<int64_t>& sizes, uint64_t seed) {
            return data::random_split(dataset, Shape(sizes.begin(), sizes.end()), seed);
          },
          nb::arg("dataset"), nb::arg("lengths"), nb::arg("seed"));
      m.def("is_native", [](const Dataset& d) { return is_native(d); });
      // Of a subclass written in Python that may not have called the constructor.
      m.def("is_constructed", [](nb::handle d) { return nb::inst_ready(d); });
      m.def("stack_samples", [](nb::list samples) {
        std::vector<TensorList> all;
        for (nb::handle s : samples) all.push_back(unwrap_list(s, "stack_samples"));
        return wrap_list(data::stack_samples(all));
      });
    }};

// ---- the loader

/// Samples that are their own numbers: the order of an epoch, for datasets that only Python can read.
struct IndexDataset final : data::Dataset {
  explicit IndexDataset(int64_t n) : n_(n) {}
  int64_t size() const override { return n_; }
  TensorList get(int64_t index) const override { return {Tensor::of<int64_t>({index}, Shape{})}; }
  int64_t n_;
};

data::LoaderState state_from(const nb::dict& d) {
  auto number = [&](const char* key) {
    SORUS_CHECK(d.contains(key) && nb::isinstance<nb::int_>(d[key]), ValueError,
                "DataLoader.load_state_dict: expected the number '{}', it is {}", key,
                d.contains(key) ? "something else" : "missing");
    return nb::cast<int64_t>(d[key]);
  };
  return {number("epoch"), number("position"), static_cast<uint64_t>(number("seed")), number("samples"),
          number("batch_size")};
}

const Part loaders{
    21, [](nb::module_& root) {
      nb::module_ m = nb::borrow<nb::module_>(root.attr("_data"));
      using data::DataLoader;
      auto make = [](DataLoader* self, data::DatasetPtr dataset, int64_t batch_size, bool shuffle, bool drop_last,
                     int64_t seed, int num_workers, int prefetch) {
        new (self) DataLoader(std::move(dataset), {.batch_size = batch_size,
                                                   .shuffle = shuffle,
                                                   .drop_last = drop_last,
                                                   .seed = static_cast<uint64_t>(seed),
                                                   .num_workers = num_workers,
                                                   .prefetch = prefetch});
      };
      nb::class_<DataLoader>(m, "Loader")
          .def(
              "__init__",
              [make](DataLoader* self, std::shared_ptr<data::Dataset> dataset, int64_t batch_size, bool shuffle,
                     bool drop_last, int64_t seed, int num_workers, int prefetch) {
                make(self, std::move(dataset), batch_size, shuffle, drop_last, seed, num_workers, prefetch);
              },
              nb::arg("dataset"), nb::arg("batch_size"), nb::arg("shuffle"), nb::arg("drop_last"), nb::arg("seed"),
              nb::arg("num_workers"), nb::arg("prefetch"))
          .def(
              "__init__",
              [make](DataLoader* self, int64_t samples, int64_t batch_size, bool shuffle, bool drop_last,
                     int64_t seed) {
                make(self, std::make_shared<IndexDataset>(samples), batch_size, shuffle, drop_last, seed, 0, 1);
              },
              nb::arg("samples"), nb::arg("batch_size"), nb::arg("shuffle"), nb::arg("drop_last"), nb::arg("seed"))
          .def("next",
               [](DataLoader& self) -> nb::object {
                 std::optional<TensorList> batch;
                 {
                   nb::gil_scoped_release release;
                   batch = self.next();
                 }
                 return batch ? nb::object(wrap_list(*batch)) : nb::none();
               })
          .def("__len__", &DataLoader::size)
          .def("state",
               [](const DataLoader& self) {
                 data::LoaderState s = self.state();
                 nb::dict d;
                 d["epoch"] = s.epoch;
                 d["position"] = s.position;
                 d["seed"] = static_cast<int64_t>(s.seed);
                 d["samples"] = s.samples;
                 d["batch_size"] = s.batch_size;
                 return d;
               })
          .def("load_state",
               [](DataLoader& self, const nb::dict& d) {
                 data::LoaderState state = state_from(d);
                 nb::gil_scoped_release release;  // waits for workers
                 self.load_state(state);
               })
          .def("set_epoch", [](DataLoader& self, int64_t epoch) {
            nb::gil_scoped_release release;
            self.set_epoch(epoch);
          });
    }};

// ---- tokenizers and corpora

/// The bytes of a str (as UTF-8) or of bytes; valid as long as the object.
std::string_view text_of(nb::handle o) {
  Py_ssize_t n = 0;
  if (PyUnicode_Check(o.ptr())) {
    const char* s = PyUnicode_AsUTF8AndSize(o.ptr(), &n);
    if (!s) nb::raise_python_error();
    return {s, static_cast<size_t>(n)};
  }
  if (PyBytes_Check(o.ptr())) return {PyBytes_AS_STRING(o.ptr()), static_cast<size_t>(PyBytes_GET_SIZE(o.ptr()))};
  if (nb::isinstance<data::CorpusFile>(o)) return nb::cast<const data::CorpusFile&>(o).text();
  fail<TypeError>("expected text (str or bytes), found {}", Py_TYPE(o.ptr())->tp_name);
}

std::vector<int32_t> ids_of(nb::handle o) {
  if (!is_tensor(o.ptr())) return nb::cast<std::vector<int32_t>>(o);
  const Tensor& t = tensor_in(o.ptr());
  SORUS_CHECK(t.dim() <= 1 && is_integral(t.dtype()), TypeError, "decode: expected ids in one dimension, found {}",
              t.type().to_string());
  Tensor ids = Tensor::empty(t.sizes(), DType::i32);
  copy_elements(ids, t.detach());
  return {ids.data<int32_t>(), ids.data<int32_t>() + ids.numel()};
}

nb::bytes decode(const data::Tokenizer& t, nb::handle ids) {
  std::string text = t.decode(ids_of(ids));
  return nb::bytes(text.data(), text.size());
}

const Part texts{
    21, [](nb::module_& root) {
      nb::module_ m = nb::borrow<nb::module_>(root.attr("_data"));
      using data::Tokenizer;
      nb::class_<Tokenizer>(m, "Tokenizer", nb::is_weak_referenceable())
          .def_prop_ro("vocab_size", &Tokenizer::vocab_size)
          .def("__len__", &Tokenizer::vocab_size)
          .def(
              "encode",
              [](const Tokenizer& t, nb::handle text) {
                std::string_view s = text_of(text);
                std::vector<int32_t> ids;
                {
                  nb::gil_scoped_release release;
                  ids = t.encode(s);
                }
                return ids;
              },
              nb::arg("text"))
          .def(
              "encode_to_tensor",
              [](const Tokenizer& t, nb::handle text) {
                std::string_view s = text_of(text);
                nb::gil_scoped_release release;
                std::vector<int32_t> ids = t.encode(s);
                return Tensor::of(ids, Shape{static_cast<int64_t>(ids.size())});
              },
              nb::arg("text"))
          .def("decode_bytes", &decode, nb::arg("ids"))
          .def(
              "decode",
              [](const Tokenizer& t, nb::handle ids, const char* errors) {
                return nb::object(decode(t, ids).attr("decode")("utf-8", errors));
              },
              nb::arg("ids"), nb::arg("errors") = "replace")
          .def(
              "token_to_id", [](const Tokenizer& t, nb::handle token) { return t.token_id(text_of(token)); },
              nb::arg("token"))
          .def("save", &Tokenizer::save, nb::arg("path"));
      nb::class_<data::BpeTokenizer, Tokenizer>(m, "ByteLevelBPE")
          .def_static(
              "train",
              [](nb::handle given, int64_t vocab_size, std::vector<std::string> special_tokens,
                 int64_t min_frequency) {
                std::vector<std::string_view> views;
                nb::list kept;
                if (PyUnicode_Check(given.ptr()) || PyBytes_Check(given.ptr())) {
                  views.push_back(text_of(given));
                } else {
                  for (nb::handle text : nb::iter(given)) {
                    kept.append(text);
                    views.push_back(text_of(text));
                  }
                }
                nb::gil_scoped_release release;
                return data::BpeTokenizer::train(views, {vocab_size, std::move(special_tokens), min_frequency});
              },
              nb::arg("texts"), nb::arg("vocab_size") = 4096, nb::arg("special_tokens") = std::vector<std::string>{},
              nb::arg("min_frequency") = 2)
          .def_static("load", &data::BpeTokenizer::load, nb::arg("path"));
      nb::class_<data::ByteTokenizer, Tokenizer>(m, "ByteTokenizer").def(nb::init<>());
      nb::class_<data::CharTokenizer, Tokenizer>(m, "CharTokenizer")
          .def(
              "__init__",
              [](data::CharTokenizer* self, nb::handle text) { new (self) data::CharTokenizer(text_of(text)); },
              nb::arg("text"));
      m.def("load_tokenizer", &data::load_tokenizer, nb::arg("path"));

      nb::class_<data::CorpusFile>(m, "CorpusFile")
          .def_ro("path", &data::CorpusFile::path)
          .def_prop_ro("hash", [](const data::CorpusFile& f) { return f.hash.hex(); })
          .def_prop_ro(
              "text",
              [](const data::CorpusFile& f) {
                std::string_view t = f.text();
                return nb::steal(PyUnicode_DecodeUTF8(t.data(), static_cast<Py_ssize_t>(t.size()), "replace"));
              })
          .def("__len__", [](const data::CorpusFile& f) { return f.text().size(); });
      nb::class_<data::Corpus>(m, "Corpus")
          .def_ro("train", &data::Corpus::train)
          .def_ro("validation", &data::Corpus::validation)
          .def_ro("duplicates", &data::Corpus::duplicates)
          .def_ro("binary", &data::Corpus::binary)
          .def_prop_ro("nbytes", &data::Corpus::bytes);
      data::CorpusOptions d;
      m.def(
          "gather_corpus",
          [](const Paths& roots, std::vector<std::string> extensions, std::vector<std::string> without,
             double validation, uint64_t seed) {
            nb::gil_scoped_release release;
            return data::gather_corpus(roots, {std::move(extensions), std::move(without), validation, seed});
          },
          nb::arg("roots"), nb::arg("extensions") = d.extensions, nb::arg("without") = d.without,
          nb::arg("validation") = d.validation, nb::arg("seed") = 0);
      m.def(
          "encode_files",
          [](const Tokenizer& tokenizer, std::vector<data::CorpusFile> files, const fs::path& cache_folder,
             int32_t end) {
            nb::gil_scoped_release release;
            return data::encode_files(tokenizer, files, cache_folder, end);
          },
          nb::arg("tokenizer"), nb::arg("files"), nb::arg("cache_folder"), nb::arg("end") = -1);

      data::TextOptions o;
      nb::class_<data::TextData>(m, "TextData")
          .def_prop_ro("tokenizer",
                       [](const data::TextData& t) { return std::const_pointer_cast<Tokenizer>(t.tokenizer); })
          .def_ro("corpus", &data::TextData::corpus)
          .def_prop_ro("train", [](const data::TextData& t) { return wrap(t.train); })
          .def_prop_ro("validation", [](const data::TextData& t) { return wrap(t.validation); });
      m.def(
          "load_text",
          [](const Paths& roots, int64_t vocab_size, std::shared_ptr<Tokenizer> tokenizer, double validation,
             uint64_t seed, const std::optional<fs::path>& cache_folder) {
            data::TextOptions options;
            options.vocab_size = vocab_size;
            options.tokenizer = std::move(tokenizer);
            options.corpus.validation = validation;
            options.corpus.seed = seed;
            if (cache_folder) options.cache_folder = *cache_folder;
            nb::gil_scoped_release release;
            return data::load_text(roots, options);
          },
          nb::arg("roots"), nb::arg("vocab_size") = o.vocab_size, nb::arg("tokenizer").none() = nb::none(),
          nb::arg("validation") = d.validation, nb::arg("seed") = 0, nb::arg("cache_folder") = nb::none());
      m.def("cache_folder", &sorus::cache_folder);
    }};

}  // namespace
}  // namespace sorus::python
