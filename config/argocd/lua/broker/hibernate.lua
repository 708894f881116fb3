-- No pod runs; the volume and everything in it stays.
if obj.spec == nil then
  obj.spec = {}
end
obj.spec.replicas = 0
return obj
