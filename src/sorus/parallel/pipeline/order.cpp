#include "sorus/parallel/pipeline/order.h"

#include <map>

#include "sorus/base/error.h"

namespace sorus::parallel {
namespace {

struct Known {
  PipelineOrder order;
  std::string doc;
  bool parted = false;
};
std::map<std::string, Known, std::less<>>& known() {
  static std::map<std::string, Known, std::less<>> all;
  return all;
}

}  // namespace

std::string Turn::to_string() const {
  return fmt::format("{}{}.{}", weights ? "W" : backward ? "B" : "F", stage, micro_batch);
}

bool add_pipeline_order(std::string name, PipelineOrder order, std::string doc, bool parted) {
  known().emplace(std::move(name), Known{order, std::move(doc), parted});
  return true;
}

std::vector<std::string> pipeline_order_names() {
  std::vector<std::string> out;
  for (const auto& [name, k] : known()) out.push_back(name);
  return out;
}

bool is_parted(std::string_view name) {
  auto it = known().find(name);
  return it != known().end() && it->second.parted;
}

std::vector<Turn> pipeline_order(std::string_view name, const PipelineShape& shape, int rank) {
  auto it = known().find(name);
  if (it == known().end()) {
    std::string names;
    for (const std::string& n : pipeline_order_names()) names += (names.empty() ? "" : ", ") + n;
    fail<ValueError>("there is no pipeline schedule '{}'; known are: {}", name, names);
  }
  return it->second.order(shape, rank);
}

}  // namespace sorus::parallel
