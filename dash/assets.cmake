# cmake -DDIST=<folder or empty> -DOUT=<file.c> -P assets.cmake: the pages as one C file with .incbin.
# DIST/manifest.txt has a line for each file: path|mime|etag|gz-file. Without DIST the table is empty.

set(data "")
set(rows "")
set(count 0)
if(DIST)
    file(STRINGS ${DIST}/manifest.txt lines)
    foreach(line ${lines})
        if(NOT line MATCHES "^(/[A-Za-z0-9._/-]+)\\|([a-z0-9/.+-]+(; charset=utf-8)?)\\|\"?([A-Za-z0-9_-]+)\"?\\|([A-Za-z0-9._/-]+)$")
            message(FATAL_ERROR "${DIST}/manifest.txt: not path|mime|etag|file: ${line}")
        endif()
        set(path ${CMAKE_MATCH_1})
        set(mime ${CMAKE_MATCH_2})
        set(etag ${CMAKE_MATCH_4})
        set(file ${DIST}/${CMAKE_MATCH_5})
        if(NOT EXISTS ${file})
            message(FATAL_ERROR "${DIST}/manifest.txt: no such file: ${file}")
        endif()
        set(hashed false)
        if(path MATCHES "^/assets/")
            set(hashed true)
        endif()
        string(APPEND data "__asm__(\".section .rodata\\n.global fly_asset_${count}\\n"
            ".global fly_asset_${count}_end\\nfly_asset_${count}:\\n.incbin \\\"${file}\\\"\\n"
            "fly_asset_${count}_end:\\n.byte 0\\n.previous\");\n"
            "extern const uint8_t fly_asset_${count}[];\n"
            "extern const uint8_t fly_asset_${count}_end[];\n")
        string(APPEND rows "    {\"${path}\", \"${mime}\", \"\\\"${etag}\\\"\", ${hashed},\n"
            "     fly_asset_${count}, fly_asset_${count}_end},\n")
        math(EXPR count "${count} + 1")
    endforeach()
endif()
file(WRITE ${OUT} "/* made by dash/assets.cmake */\n#include \"dash/assets_table.h\"\n\n${data}\n"
    "const struct assets_row assets_table[] = {\n${rows}    {NULL, NULL, NULL, false, NULL, NULL},\n};\n"
    "const size_t assets_table_count = ${count};\n")
