-- As many requests in one write as the first argument says; wrk then waits for all their answers.
init = function(arguments)
   local requests = {}
   for number = 1, tonumber(arguments[1]) do
      requests[number] = wrk.format(nil, wrk.path)
   end
   burst = table.concat(requests)
end

request = function()
   return burst
end
