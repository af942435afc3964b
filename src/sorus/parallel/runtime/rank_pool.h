// RankPool: the ranks of a mesh, ready to work.
//
//   RankPool pool(mesh);
//   pool.run([&](int rank) { ... comm::group(mesh.group(0)).all_reduce(...); });
//
// If this process is one rank of a group as large as the mesh (mpirun, `sorus run`), `run` calls the function here,
// for that rank. If it is alone, the ranks are threads of this process that stay from call to call. In both cases the
// group of every axis of the mesh is there under its name. An exception at one rank ends the call at all of them.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "sorus/parallel/mesh/mesh.h"

namespace sorus::parallel {

class RankPool {
 public:
  /// ValueError if this process belongs to a group of another size.
  explicit RankPool(DeviceMesh mesh);
  ~RankPool();
  RankPool(const RankPool&) = delete;
  RankPool& operator=(const RankPool&) = delete;

  const DeviceMesh& mesh() const;
  /// The ranks that run in this process.
  const std::vector<int>& local() const;
  /// Of each rank.
  int threads_each() const;
  /// Before the first run: the ranks along several axes at once are groups as well.
  void join(const std::set<std::vector<int>>& axes);
  void run(const std::function<void(int rank)>& f);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Makes the groups of the mesh's axes, and of several at once, known to the calling rank; all ranks call it.
void join_mesh(const DeviceMesh& mesh, const std::set<std::vector<int>>& joint = {});

}  // namespace sorus::parallel
