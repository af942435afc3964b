// .ms files of MindSpore Lite, from version 1.1 on (which have the letters MSL2 at byte 4).
#pragma once

#include "sorus/import/model.h"

namespace sorus::importer {

ImportedModel import_mslite(std::string_view bytes, const std::string& path);

}  // namespace sorus::importer
