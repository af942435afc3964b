// Profiles for sorus/_profile.py.
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include "bind.h"
#include "sorus/base/profile.h"

namespace sorus::python {
namespace {

const Part part{30, [](nb::module_& m) {
                  nb::class_<Profile>(m, "_Profile")
                      .def(nb::init<>())
                      .def("stop", &Profile::stop)
                      .def_prop_ro("seconds", &Profile::seconds)
                      .def("chrome_trace", &Profile::chrome_trace)
                      .def("events", [](const Profile& p) {
                        nb::list out;
                        for (const ProfileEvent& e : p.events()) {
                          if (e.depth > 0) continue;  // part of the one around it
                          nb::object line = e.source.known() ? nb::cast(e.source.to_string()) : nb::none();
                          out.append(nb::make_tuple(e.name, e.kind, e.detail, line, e.begin, e.seconds, e.flops,
                                                    e.bytes, e.lane));
                        }
                        return out;
                      });
                }};

}  // namespace
}  // namespace sorus::python
