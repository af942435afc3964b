#!/bin/sh
# ccache.sh CCACHE COMPILER ARGUMENTS...: compiles by way of ccache, but for precompiled headers.
#
# A precompiled header holds the times of the headers in it, and gcc takes a header of another time for another one
# (`#pragma once` fails, everything in it is defined twice). One from the cache has the times of the tree in which it was
# made, so headers are always precompiled here, and a checksum of their text beside them tells ccache what else depends
# on: objects are found again although no two precompiled headers are the same.
ccache=$1
shift
export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime CCACHE_PCH_EXTSUM=true
case " $* " in
  *" -x c++-header "*) ;;
  *) exec "$ccache" "$@" ;;
esac
"$@" || exit
for argument do  # the same command, to text and without -o FILE
  shift
  if [ "$before" = -o ]; then
    output=$argument
  elif [ "$argument" != -o ]; then
    set -- "$@" "$argument"
  fi
  before=$argument
done
"$@" -E -MF /dev/null | sha256sum > "$output.sum"
