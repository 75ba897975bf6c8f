# Puts text files into C arrays. This file is also the script that the build runs: cmake -DIN=x -DOUT=x.c -DSYMBOL=s -P ...

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

# file: what is read; out: the generated C file; symbol: of the array; symbol_size is its length without the 0 at its end.
function(segx_embed_file file out symbol)
  add_custom_command(OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DIN=${file} -DOUT=${out} -DSYMBOL=${symbol} -P ${SEGX_EMBED_SCRIPT}
    DEPENDS ${file} ${SEGX_EMBED_SCRIPT} VERBATIM)
endfunction()
