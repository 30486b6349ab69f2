
Ç

test.protoacme.v1google/protobuf/timestamp.proto"M

GetRequest
id (	Rid/
as_of (2.google.protobuf.TimestampRasOf28
Posts/
Get.acme.v1.GetRequest.acme.v1.GetRequestbproto3