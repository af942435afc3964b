// sorus._core._comm: communicators and their operations on tensors; sorus/distributed gives them PyTorch's forms.
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "bind.h"
#include "sorus/autodiff/tape.h"
#include "sorus/base/threads.h"
#include "sorus/io/json.h"
#include "sorus/parallel/checkpoint/sharded.h"
#include "sorus/parallel/comm/groups.h"
#include "sorus/parallel/comm/mpi.h"
#include "sorus/parallel/comm/shared_memory.h"
#include "sorus/parallel/comm/tensors.h"
#include "sorus/parallel/comm/threads.h"
#include "sorus/parallel/ddp/reducer.h"
#include "sorus/parallel/fsdp/unsharded.h"

namespace sorus::python {
namespace {

using comm::Communicator;
using Group = std::shared_ptr<Communicator>;

// ---- waits give up the interpreter's lock and notice Ctrl-C

struct Released {
  PyThreadState* state;
};
void* release_lock() { return PyGILState_Check() ? new Released{PyEval_SaveThread()} : nullptr; }
void take_lock(void* token) {
  auto* released = static_cast<Released*>(token);
  if (!released) return;
  if (released->state) PyEval_RestoreThread(released->state);
  delete released;
}
void look_for_signals(void* token) {
  auto* released = static_cast<Released*>(token);
  if (!released || !released->state) return;
  PyEval_RestoreThread(released->state);
  released->state = nullptr;  // it is ours again, whatever happens now
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
  released->state = PyEval_SaveThread();
}

comm::Options options(double timeout, double hang) {
  auto ms = [](double s) { return std::chrono::milliseconds(static_cast<int64_t>(s * 1000)); };
  return {.timeout = ms(timeout), .hang = ms(hang)};
}

Shape sizes_from(nb::handle list) {
  Shape out;
  if (!list.is_none())
    for (nb::handle i : nb::iter(list)) out.push_back(nb::cast<int64_t>(i));
  return out;
}

nb::object work(const comm::WorkRef& w) { return w ? nb::cast(w) : nb::none(); }

// Threads that Python made and that have a share of the cores.
thread_local std::optional<ThreadLimit> limit;
thread_local std::optional<comm::GroupScope> scope;

const Part part{
    30, [](nb::module_& module) {
      nb::module_ m = module.def_submodule("_comm");
      comm::set_blocking_hooks({release_lock, take_lock, look_for_signals});
      nb::exception<comm::CommError>(m, "DistBackendError", PyExc_RuntimeError);

      nb::class_<comm::Work>(m, "Work")
          .def("is_completed", &comm::Work::is_completed)
          .def(
              "wait",
              [](comm::Work& w, nb::object) {
                w.wait();
                return true;
              },
              nb::arg("timeout") = nb::none(), "Returns when it is done; raises what it raised.");

      nb::class_<Communicator>(m, "ProcessGroup", nb::is_weak_referenceable())
          .def("rank", &Communicator::rank)
          .def("size", &Communicator::size)
          .def("name", [](const Communicator& c) { return std::string_view(c.backend()); })
          .def_prop_ro("group_name", &Communicator::name)
          .def_prop_ro("members", &Communicator::members)
          .def("split", [](Communicator& c, const std::vector<int>& ranks,
                           const std::string& name) { return c.split(ranks, name); })
          .def("abort", [](Communicator& c, const std::string& why) { c.abort(why); })
          .def("barrier",
               [](Communicator& c, bool async) -> nb::object {
                 if (async) return work(c.start([](Communicator& own) { own.barrier(); }));
                 c.barrier();
                 return nb::none();
               })
          .def("all_reduce", [](Communicator& c, const Tensor& t, std::string_view op,
                                bool async) { return work(all_reduce(c, t, comm::reduce_op_from_name(op), async)); })
          .def("reduce", [](Communicator& c, const Tensor& t, int root, std::string_view op,
                            bool async) { return work(reduce(c, t, root, comm::reduce_op_from_name(op), async)); })
          .def("broadcast", [](Communicator& c, const Tensor& t, int root,
                               bool async) { return work(broadcast(c, t, root, async)); })
          .def("all_gather",
               [](Communicator& c, nb::handle out, const Tensor& in, bool async) {
                 return work(all_gather(c, unwrap_list(out, "all_gather"), in, async));
               })
          .def("all_gather_into", [](Communicator& c, const Tensor& out, const Tensor& in,
                                     bool async) { return work(all_gather_into(c, out, in, async)); })
          .def("reduce_scatter",
               [](Communicator& c, const Tensor& out, nb::handle in, std::string_view op, bool async) {
                 return work(
                     reduce_scatter(c, out, unwrap_list(in, "reduce_scatter"), comm::reduce_op_from_name(op), async));
               })
          .def("reduce_scatter_from",
               [](Communicator& c, const Tensor& out, const Tensor& in, std::string_view op, bool async) {
                 return work(reduce_scatter_from(c, out, in, comm::reduce_op_from_name(op), async));
               })
          .def("all_to_all",
               [](Communicator& c, nb::handle out, nb::handle in, bool async) {
                 return work(all_to_all(c, unwrap_list(out, "all_to_all"), unwrap_list(in, "all_to_all"), async));
               })
          .def(
              "all_to_all_single",
              [](Communicator& c, const Tensor& out, const Tensor& in, nb::handle out_sizes, nb::handle in_sizes,
                 bool async) {
                return work(all_to_all_single(c, out, in, sizes_from(out_sizes), sizes_from(in_sizes), async));
              },
              nb::arg(), nb::arg(), nb::arg().none(), nb::arg().none(), nb::arg())
          .def(
              "scatter",
              [](Communicator& c, const Tensor& out, nb::handle in, int root, bool async) {
                TensorList list = in.is_none() ? TensorList{} : unwrap_list(in, "scatter");
                return work(scatter(c, out, list, root, async));
              },
              nb::arg(), nb::arg().none(), nb::arg(), nb::arg())
          .def(
              "gather",
              [](Communicator& c, nb::handle out, const Tensor& in, int root, bool async) {
                TensorList list = out.is_none() ? TensorList{} : unwrap_list(out, "gather");
                return work(gather(c, list, in, root, async));
              },
              nb::arg().none(), nb::arg(), nb::arg(), nb::arg())
          .def("isend", [](Communicator& c, const Tensor& t, int to, int tag) { return isend(c, t, to, tag); })
          .def("irecv", [](Communicator& c, const Tensor& t, int from, int tag) { return irecv(c, t, from, tag); });

      nb::class_<ddp::Reducer>(m, "Reducer")
          .def("__init__",
               [](ddp::Reducer* self, const Group& group, nb::handle parameters, std::vector<std::string> names,
                  int64_t bucket_bytes, bool find_unused, bool views, bool broadcast) {
                 ddp::ReducerOptions o;
                 o.bucket_bytes = bucket_bytes;
                 o.first_bucket_bytes = std::min(bucket_bytes, o.first_bucket_bytes);
                 o.find_unused_parameters = find_unused;
                 o.gradient_as_bucket_view = views;
                 o.broadcast_parameters = broadcast;
                 new (self)
                     ddp::Reducer(group, unwrap_list(parameters, "DistributedDataParallel"), std::move(names), o);
               })
          .def("prepare", &ddp::Reducer::prepare)
          .def_prop_rw("sync", &ddp::Reducer::sync, &ddp::Reducer::set_sync)
          .def_prop_ro("bucket_sizes", &ddp::Reducer::bucket_sizes)
          .def_prop_ro("started_early", &ddp::Reducer::started_early);

      nb::class_<fsdp::Unsharded>(m, "Unsharded")
          .def("__init__", [](fsdp::Unsharded* self, const Group& group, nb::handle whole,
                              DType dtype) { new (self) fsdp::Unsharded(group, sizes_from(whole), dtype); })
          .def_prop_ro("full", [](const fsdp::Unsharded& u) { return wrap(u.full()); })
          .def_prop_ro("first_row", &fsdp::Unsharded::first_row)
          .def_prop_ro("rows", &fsdp::Unsharded::rows)
          .def_prop_ro("is_gathered", &fsdp::Unsharded::is_gathered)
          .def("gather", &fsdp::Unsharded::gather)
          .def("release", &fsdp::Unsharded::release)
          .def("reduce", [](const fsdp::Unsharded& u, const Tensor& grad) { return wrap(u.reduce(grad)); });
      m.def("at_end_of_backward", [](nb::object f) { at_end_of_backward([f] { f(); }); });

      // ---- checkpoints
      m.def("save_sharded", [](Communicator& group, const std::filesystem::path& path, nb::list pieces,
                               const std::string& state) {
        std::vector<checkpoint::Piece> all;
        for (nb::handle p : pieces)
          all.push_back({nb::cast<std::string>(p[0]), unwrap(p[1], "save"), sizes_from(p[2]), sizes_from(p[3])});
        checkpoint::save(group, path, all, io::parse_json(state, "the state"));
      });
      nb::class_<checkpoint::Sharded>(m, "ShardedCheckpoint")
          .def(nb::new_([](const std::filesystem::path& path) { return checkpoint::Sharded::open(path); }))
          .def_prop_ro("state", [](const checkpoint::Sharded& c) { return c.state().dump(); })
          .def_prop_ro("entries",
                       [](const checkpoint::Sharded& c) {
                         nb::dict out;
                         for (const auto& [name, e] : c.entries())
                           out[nb::str(name.c_str())] = nb::make_tuple(wrap_dtype(e.dtype), wrap_size(e.shape));
                         return out;
                       })
          .def("read", [](const checkpoint::Sharded& c, const std::string& name, nb::handle start,
                          const Tensor& into) { c.read(name, sizes_from(start), into); });

      // ---- worlds

      m.def(
          "join_shared_memory",
          [](int rank, int size, const std::string& key, double join_timeout, double timeout, double hang,
             bool watch) {
            return comm::join_shared_memory(
                {.rank = rank,
                 .size = size,
                 .key = key,
                 .join_timeout = std::chrono::milliseconds(static_cast<int64_t>(join_timeout * 1000)),
                 .options = options(timeout, hang),
                 .watch = watch});
          },
          nb::kw_only(), nb::arg("rank"), nb::arg("size"), nb::arg("key"), nb::arg("join_timeout"),
          nb::arg("timeout"), nb::arg("hang"), nb::arg("watch"));
      m.def(
          "join_mpi", [](double timeout, double hang) { return comm::join_mpi(options(timeout, hang)); },
          nb::kw_only(), nb::arg("timeout"), nb::arg("hang"));
      m.def("mpi_problem", &comm::mpi_problem, "Empty, or why join_mpi cannot work here.");
      nb::class_<comm::ThreadWorld>(m, "ThreadWorld")
          .def(
              "__init__",
              [](comm::ThreadWorld* self, int ranks, double timeout, double hang) {
                new (self) comm::ThreadWorld(ranks, options(timeout, hang));
              },
              nb::arg("ranks"), nb::arg("timeout"), nb::arg("hang"))
          .def("size", &comm::ThreadWorld::size)
          .def("join", &comm::ThreadWorld::join);

      // ---- the groups of this process, or of this thread
      m.def(
          "set_process_world",
          [](const Group& world) {
            comm::set_process_groups(world ? std::make_shared<comm::Groups>(world) : nullptr);
          },
          nb::arg("world").none());
      m.def(
          "set_thread_world",
          [](const Group& world, int threads) {
            scope.reset();
            limit.reset();
            if (!world) return;
            scope.emplace(std::make_shared<comm::Groups>(world));
            limit.emplace(threads);
          },
          nb::arg("world").none(), nb::arg("threads") = 1);
      m.def("has_world", &comm::has_groups);
      m.def("group", [](const std::string& name) { return comm::groups().find(name); });
      m.def(
          "add_group", [](const std::string& name, const Group& group) { comm::groups().add(name, group); },
          nb::arg("name"), nb::arg("group").none());
      m.def("remove_group", [](const std::string& name) { comm::groups().remove(name); });
    }};

}  // namespace
}  // namespace sorus::python
