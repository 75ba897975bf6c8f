# Puts the Lua files of the product into the program as C arrays: lua/segx/loss.lua becomes module
# segx.loss. Each file has its own generated source, so that a change rebuilds one of them.
# This file is also the script that the build runs: cmake -DIN=x.lua -DOUT=x.c -DSYMBOL=s -P ...

if(CMAKE_SCRIPT_MODE_FILE)
  file(READ "${IN}" hex HEX)
  string(LENGTH "${hex}" digits)
  math(EXPR size "${digits} / 2")
  string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  file(WRITE "${OUT}" "#include <stddef.h>\n"
    "extern const unsigned char ${SYMBOL}[];\nextern const size_t ${SYMBOL}_size;\n"
    "const size_t ${SYMBOL}_size = ${size};\nconst unsigned char ${SYMBOL}[] = {\n${bytes}0};\n")
  return()
endif()

set(SEGX_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})

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
    add_custom_command(OUTPUT ${dir}/${symbol}.c
      COMMAND ${CMAKE_COMMAND} -DIN=${root}/${file} -DOUT=${dir}/${symbol}.c -DSYMBOL=${symbol}
              -P ${SEGX_EMBED_SCRIPT}
      DEPENDS ${root}/${file} ${SEGX_EMBED_SCRIPT} VERBATIM)
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
