// The file format of the IOPDDL contest.
#include "sorus/base/files.h"
#include "sorus/io/json.h"
#include "sorus/parallel/solver/budget.h"

namespace sorus::parallel {

BudgetedAssignment read_contest(const std::string& file) {
  io::Json root = io::parse_json(read_file(file), file);
  const io::Json& problem = io::object_member(root, "problem", file);
  const io::Json& nodes = io::object_member(problem, "nodes", file);
  const io::Json& edges = io::object_member(problem, "edges", file);
  const io::Json &intervals = io::array_member(nodes, "intervals", file),
                 &costs = io::array_member(nodes, "costs", file), &usages = io::array_member(nodes, "usages", file);
  const io::Json &ends = io::array_member(edges, "nodes", file), &tables = io::array_member(edges, "costs", file);
  auto same = [&](const io::Json& list, size_t count, const char* what) {
    SORUS_CHECK(list.size() == count, FileError, "{}: {}: expected {} entries, found {}", file, what, count,
                list.size());
  };
  same(intervals, costs.size(), "nodes.intervals");
  same(usages, costs.size(), "nodes.usages");
  same(tables, ends.size(), "edges.costs");
  BudgetedAssignment p;
  p.name = problem.value("name", file);
  try {
    for (size_t v = 0; v < costs.size(); ++v) {
      p.interval.emplace_back(intervals[v].at(0).get<int64_t>(), intervals[v].at(1).get<int64_t>());
      p.assignment.add(costs[v].get<std::vector<double>>());
      p.usage.push_back(usages[v].get<std::vector<int64_t>>());
      same(usages[v], costs[v].size(), "nodes.usages of a node");
      SORUS_CHECK(!costs[v].empty(), FileError, "{}: node {} has no strategies", file, v);
    }
    for (size_t e = 0; e < ends.size(); ++e) {
      same(ends[e], 2, "edges.nodes of an edge");
      int a = ends[e][0].get<int>(), b = ends[e][1].get<int>(), n = static_cast<int>(costs.size());
      SORUS_CHECK(a >= 0 && b >= 0 && a < n && b < n, FileError, "{}: edge {} joins {} and {} of {} nodes", file, e,
                  a, b, n);
      same(tables[e], costs[static_cast<size_t>(a)].size() * costs[static_cast<size_t>(b)].size(),
           "edges.costs of an edge");
      p.assignment.connect(a, b, tables[e].get<std::vector<double>>());
    }
    if (problem.contains("usage_limit")) p.limit = problem["usage_limit"].get<int64_t>();
  } catch (const io::Json::exception& e) {
    throw FileError(file + ": " + e.what());
  }
  return p;
}

}  // namespace sorus::parallel
