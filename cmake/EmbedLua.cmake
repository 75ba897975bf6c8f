# Puts the Lua files of the product into the program as C arrays: lua/segx/loss.lua becomes module
# segx.loss. Each file has its own generated source, so that a change rebuilds one of them.
include(${CMAKE_CURRENT_LIST_DIR}/EmbedText.cmake)

# sources: variable that receives the generated C files; root: folder that holds segx/*.lua
function(segx_embed_lua sources root)
  file(GLOB_RECURSE files CONFIGURE_DEPENDS RELATIVE ${root} ${root}/segx/*.lua)
  list(SORT files)
  set(dir ${PROJECT_BINARY_DIR}/generated/lua)
  set(declarations "")
  set(rows "")
  set(out "")
  foreach(file IN LISTS files)
    string(REGEX REPLACE "\\.lua$" "" module "${file}")
    string(REGEX REPLACE "/init$" "" module "${module}")
    string(REPLACE "/" "." module "${module}")
    string(MAKE_C_IDENTIFIER "lua_${module}" symbol)
    segx_embed_file(${root}/${file} ${dir}/${symbol}.c ${symbol})
    list(APPEND out ${dir}/${symbol}.c)
    string(APPEND declarations
      "extern const unsigned char ${symbol}[];\nextern const size_t ${symbol}_size;\n")
    string(APPEND rows "    {\"${module}\", \"=${file}\", ${symbol}, &${symbol}_size},\n")
  endforeach()
  file(CONFIGURE OUTPUT ${dir}/embedded.c @ONLY CONTENT "#include \"embedded.h\"

@declarations@
const struct embedded_module embedded_modules[] = {
@rows@    {NULL, NULL, NULL, NULL}
};
")
  file(CONFIGURE OUTPUT ${dir}/embedded.h @ONLY CONTENT "/* Generated: the Lua files of the product. The last row is all NULL. */
#ifndef EMBEDDED_H
#define EMBEDDED_H

#include <stddef.h>

struct embedded_module {
    const char *name;    /* \"segx.loss\" */
    const char *chunk;   /* chunk name, \"=segx/loss.lua\" */
    const unsigned char *text;
    const size_t *size;
};
extern const struct embedded_module embedded_modules[];

#endif
")
  set(${sources} ${out} ${dir}/embedded.c PARENT_SCOPE)
  set_property(DIRECTORY APPEND PROPERTY INCLUDE_DIRECTORIES ${dir})
endfunction()
