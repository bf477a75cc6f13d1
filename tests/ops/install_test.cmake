# Installs into a folder of its own, builds README.md's first program against that alone, and runs it.
# Arguments: BUILD, COMPILER, NM, PROGRAM, PREFIX.
file(REMOVE_RECURSE ${PREFIX})
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${PREFIX} OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
execute_process(
  COMMAND ${COMPILER} -std=c99 ${PROGRAM} -I${PREFIX}/include -L${PREFIX}/lib -lptxops -Wl,-rpath,${PREFIX}/lib
          -o ${PREFIX}/program
  COMMAND_ERROR_IS_FATAL ANY)
unset(ENV{PTXOPS_VIRTUAL_DRIVER})
set(ENV{PTXOPS_DRIVER} virtual)
execute_process(COMMAND ${PREFIX}/program OUTPUT_VARIABLE out ERROR_VARIABLE said COMMAND_ERROR_IS_FATAL ANY)
if(NOT out MATCHES "^D\\[63\\]\\[255\\] = 128, expected 128\n$")
  message(FATAL_ERROR "the program says: ${out}")
endif()
if(NOT said MATCHES "using the virtual device ${PREFIX}/lib/virtual/libcuda.so.1")
  message(FATAL_ERROR "the virtual driver is another: ${said}")
endif()
execute_process(COMMAND ${NM} -D --defined-only ${PREFIX}/lib/libptxops.so OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^ \n]+\n" names "${symbols}")
list(FILTER names EXCLUDE REGEX "^ptxops[A-Z]")
if(names)
  message(FATAL_ERROR "libptxops.so exports more than the C ABI: ${names}")
endif()
execute_process(COMMAND ${PREFIX}/bin/ptxops-kernel list OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
